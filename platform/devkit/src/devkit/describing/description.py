"""Descriptions of services as plain data."""

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
    """The HTTP port, and the path prefixes of the API, for example `/orders`.

    `/` stands for the page at the root only, `/*` for a route whose first part has a parameter.
    """

    port: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class GrpcMethod:
    """An RPC, with the path of its requests: `/shop.orders.v1.OrdersService/GetOrder`."""

    name: str
    path: str
    reads_only: bool


@dataclass(frozen=True)
class GrpcService:
    """A contract that is served, for example `shop.orders.v1.OrdersService`."""

    full_name: str
    methods: tuple[GrpcMethod, ...]


@dataclass(frozen=True)
class GrpcSurface:
    """The gRPC port, and the contracts served on it in addition to health and reflection."""

    port: int
    services: tuple[GrpcService, ...]


@dataclass(frozen=True)
class Call:
    """A contract that is called, with the service that serves it and that service's gRPC port."""

    service: str
    full_name: str
    port: int


@dataclass(frozen=True)
class Caller:
    """A service that calls this one, and the contract that it calls."""

    service: str
    full_name: str


@dataclass(frozen=True)
class Foreign:
    """The stream and the subject of a producer that is not a service of the platform."""

    stream: str
    subject: str


@dataclass(frozen=True)
class Subscription:
    """A type of event that is handled.

    `producer` is the service that publishes it; None for an event of a `foreign` producer. `kind`
    is one, batch, async or broadcast; `start` is oldest or newest. `message` is the full name of
    the message into which its data are decoded.
    """

    type: str
    producer: str | None
    kind: str
    start: str
    message: str
    foreign: Foreign | None


@dataclass(frozen=True)
class Setting:
    """A setting. `default` is a JSON value, and None for a secret.

    `required` means that it must be set outside of development.
    """

    variable: str
    type: str
    default: object
    required: bool
    secret: bool
    description: str


@dataclass(frozen=True)
class Probes:
    """Paths of the probes and metrics on the HTTP port."""

    live: str = "/livez"
    ready: str = "/readyz"
    startup: str = "/startupz"
    metrics: str = "/metrics"


@dataclass(frozen=True)
class ServiceDescription:
    """A service.

    `distribution` also names its image. `version` is that of its pyproject.toml. `folder` is
    relative to the workspace. `migrations` says that it needs `python -m <package> migrate`.
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
    """All services, sorted by name, and the number of lanes of their events.

    `root` is the workspace's folder, because some files are derived from other files.
    """

    root: Path
    services: tuple[ServiceDescription, ...]
    lanes: int

    def service(self, name: str) -> ServiceDescription | None:
        """Return the service of that name; None if there is none."""
        return next((service for service in self.services if service.name == name), None)
