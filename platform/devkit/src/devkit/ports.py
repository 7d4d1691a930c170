"""Ports of replicas: their assignment, and the processes that hold ports in use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chassis.ports import HTTP, PortInUse, listen_error
from devkit.errors import DevkitError
from devkit.services import ServiceDefinition
from localservers import free_port

__all__ = [
    "FixedPort",
    "ReplicaPorts",
    "assign_ports",
    "check_free",
    "free_replica_ports",
    "port_holder",
]


@dataclass(frozen=True)
class ReplicaPorts:
    """The ports of one replica, kept while the platform runs."""

    http: int
    grpc: int


def free_replica_ports() -> ReplicaPorts:
    """Return free ports for a replica."""
    return ReplicaPorts(free_port(), free_port())


@dataclass(frozen=True)
class FixedPort:
    """A port that must be free. `moved_by` is its name on the command line: `orders.http`."""

    port: int
    moved_by: str


def assign_ports(
    services: Iterable[ServiceDefinition],
    *,
    replicas: Mapping[str, int],
    ports: Mapping[str, int],
    free_ports: bool,
) -> tuple[dict[tuple[str, int], ReplicaPorts], list[FixedPort]]:
    """Return the ports by service and replica, and the ports that must be free.

    The first replica gets the service's default ports unless `ports` moves them
    (`{"orders.http": 8181}`) or `free_ports` is set. Further replicas get free ports.
    """
    assigned: dict[tuple[str, int], ReplicaPorts] = {}
    fixed: list[FixedPort] = []

    def choose(name: str, default: int | None, replica: int) -> int:
        if replica == 0 and name in ports:
            chosen = ports[name]
        elif replica > 0 or free_ports or default is None:
            return free_port()
        else:
            chosen = default
        fixed.append(FixedPort(chosen, name))
        return chosen

    for service in services:
        for replica in range(replicas.get(service.name, 1)):
            assigned[service.name, replica] = ReplicaPorts(
                choose(f"{service.name}.http", service.http_port, replica),
                choose(f"{service.name}.grpc", service.grpc_port, replica),
            )
    return assigned, fixed


def check_free(fixed: Iterable[FixedPort]) -> None:
    """Raise DevkitError naming every port in use, its process, and the option that moves it."""
    lines = []
    seen: dict[int, str] = {}
    for item in fixed:
        if item.port in seen:
            lines.append(f"port {item.port} is given to {seen[item.port]} and to {item.moved_by}")
        else:
            seen[item.port] = item.moved_by
            reason = listen_error("127.0.0.1", item.port, HTTP)
            if reason is None:
                continue
            if isinstance(reason, PortInUse):
                holder = port_holder(item.port)
                by = f" by {holder}" if holder else ""
                lines.append(f"port {item.port} ({item.moved_by}) is in use{by}")
            else:
                lines.append(f"port {item.port} ({item.moved_by}): {str(reason).split(':')[0]}")
        lines[-1] += f"; move it with --port {item.moved_by}={free_port()}"
    if lines:
        raise DevkitError("\n".join(lines))


def port_holder(port: int) -> str | None:
    """Return the name and id of the process that listens on a port; None if it is not visible."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and tuple(connection.laddr)[1:] == (port,):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return None
    return None
