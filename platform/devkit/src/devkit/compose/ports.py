"""Ports on this machine at which the containers of services answer."""

from collections.abc import Iterable, Iterator

from devkit.describing.description import ServiceDescription
from localservers import free_port

__all__ = ["free_ports", "ports_of"]


def ports_of(service: ServiceDescription) -> Iterator[tuple[str, int]]:
    """Yield each port in the container with the variable that sets its port on this machine."""
    prefix = service.name.upper().replace("-", "_")
    yield f"{prefix}_HTTP_PORT", service.http.port
    if service.grpc is not None:
        yield f"{prefix}_GRPC_PORT", service.grpc.port


def free_ports(services: Iterable[ServiceDescription]) -> dict[str, str]:
    """Return a free port for each of these variables."""
    return {variable: str(free_port()) for each in services for variable, _ in ports_of(each)}
