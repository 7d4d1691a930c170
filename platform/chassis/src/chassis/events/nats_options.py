"""How the broker is reached: in one place for both connections."""

from dataclasses import dataclass

from nats.aio.client import Client

from chassis.events.settings import EventSettings

__all__ = ["JetStreamClient", "NatsOptions", "api_subject"]


class JetStreamClient(Client):
    """A client that knows under which prefix its server, or another domain, has its JetStream."""

    def __init__(self, domain: str = "") -> None:
        super().__init__()
        self.api_prefix = f"$JS.{domain}.API" if domain else "$JS.API"


def api_subject(client: Client, subject: str) -> str:
    """A subject of the JetStream API, given without its prefix."""
    prefix = client.api_prefix if isinstance(client, JetStreamClient) else "$JS.API"
    return f"{prefix}.{subject}"


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The broker's URL, and which JetStream domain is meant; "" is the server's own."""

    url: str
    domain: str = ""

    @classmethod
    def of(cls, url: str, settings: EventSettings) -> "NatsOptions":
        """As the settings have it."""
        return cls(url, settings.nats_domain)

    def client(self) -> JetStreamClient:
        """A client that is not connected yet."""
        return JetStreamClient(self.domain)
