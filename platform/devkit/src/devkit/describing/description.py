"""What a service's composition root declares, as plain data."""

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Call",
    "Caller",
    "Foreign",
    "GrpcMethod",
    "GrpcService",
    "GrpcSurface",
    "HttpSurface",
    "PlatformDescription",
    "Probes",
    "ServiceDescription",
    "Setting",
    "Subscription",
]


@dataclass(frozen=True)
class HttpSurface:
    """The HTTP port, and the path prefixes of the API: `/orders`. Without routes there are none.

    `/` is the page at the root alone, and `/*` is a route whose first part has a parameter.
    """

    port: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class GrpcMethod:
    """An RPC. `path` is that of its HTTP/2 requests: `/shop.orders.v1.OrdersService/GetOrder`."""

    name: str
    path: str
    reads_only: bool


@dataclass(frozen=True)
class GrpcService:
    """A contract that is served: `shop.orders.v1.OrdersService`."""

    full_name: str
    methods: tuple[GrpcMethod, ...]


@dataclass(frozen=True)
class GrpcSurface:
    """The gRPC port, and the contracts served on it beside health and reflection."""

    port: int
    services: tuple[GrpcService, ...]


@dataclass(frozen=True)
class Call:
    """A contract that is called, the service that serves it, and that service's gRPC port."""

    service: str
    full_name: str
    port: int


@dataclass(frozen=True)
class Caller:
    """A service that calls, and the contract of this service that it calls."""

    service: str
    full_name: str


@dataclass(frozen=True)
class Foreign:
    """The stream, and the subject in it, of a producer that is no service of the platform."""

    stream: str
    subject: str


@dataclass(frozen=True)
class Subscription:
    """A type of event that is handled.

    `producer` is the service that publishes it; None where `foreign` says whence it comes. `kind`
    is one, batch, async or broadcast; `start` oldest or newest. `message` is the full name of the
    message that its data are read as.
    """

    type: str
    producer: str | None
    kind: str
    start: str
    message: str
    foreign: Foreign | None


@dataclass(frozen=True)
class Setting:
    """A setting. `default` is as in JSON, and None for a secret.

    `required`: outside of development it must be set.
    """

    variable: str
    type: str
    default: object
    required: bool
    secret: bool
    description: str


@dataclass(frozen=True)
class Probes:
    """Paths on the HTTP port."""

    live: str = "/livez"
    ready: str = "/readyz"
    startup: str = "/startupz"
    metrics: str = "/metrics"


@dataclass(frozen=True)
class ServiceDescription:
    """A service. `distribution` is the name of its image too; `folder` is relative to the root.

    `version` is that of its pyproject.toml. `migrations`: `python -m <package> migrate` has
    something to do.
    """

    name: str
    distribution: str
    version: str
    package: str
    folder: str
    http: HttpSurface
    grpc: GrpcSurface | None
    calls: tuple[Call, ...]
    callers: tuple[Caller, ...]
    publishes: tuple[str, ...]
    subscribes: tuple[Subscription, ...]
    settings: tuple[Setting, ...]
    database: bool
    migrations: bool
    probes: Probes


@dataclass(frozen=True)
class PlatformDescription:
    """All services, by name, and the number of lanes that their events are spread over.

    `root` is the workspace's folder: some files are derived from others beside the code.
    """

    root: Path
    services: tuple[ServiceDescription, ...]
    lanes: int

    def service(self, name: str) -> ServiceDescription | None:
        """The service of that name, if there is one."""
        return next((service for service in self.services if service.name == name), None)
