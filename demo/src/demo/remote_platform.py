"""A running platform on any machine: its addresses, and the replicas behind them.

platform = find_platform(["gateway=http://shop.example", "orders=orders-headless:9081", …])
"""

import re
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from demo.laws import LEDGER_SERVICES
from devkit.errors import DevkitError

__all__ = ["Address", "RemotePlatform", "RemoteReplica", "find_platform", "grpc_address"]

_ENTRY = "gateway"
_HTTP = re.compile(r"https?://[^/?#]+/?$")
_GRPC = re.compile(r"(?P<host>[^:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})$")
_FORM = (
    "write --at gateway=http://host:8080 for the gateway, --at orders=host:9081 for a service's"
    " gRPC, --at orders=http://host:8081 for its metrics"
)


@dataclass(frozen=True, slots=True)
class RemoteReplica:
    """One address of a service."""

    service: str
    grpc_address: str
    authority: str
    http_url: str | None
    http_host: str | None = None

    @property
    def name(self) -> str:
        return f"{self.service} at {self.grpc_address}"

    @property
    def running(self) -> bool:
        """Always true: a replica that is not running has no address or does not answer."""
        return True

    @property
    def grpc_port(self) -> int | None:
        return int(self.grpc_address.rpartition(":")[2])

    @property
    def log(self) -> Path | None:
        return None


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a service, as given on the command line."""

    service: str
    host: str
    """Host name or IP address; an IPv6 address is without brackets."""
    grpc_port: int
    metrics: SplitResult | None = None
    """The URL above /metrics, if it is known."""

    def replicas(self) -> Iterator[RemoteReplica]:
        """Yield a replica for each address that the host name has now."""
        for address in _resolve(self.host):
            yield RemoteReplica(
                self.service,
                _host_port(address, self.grpc_port),
                _host_port(self.host, self.grpc_port),
                self._metrics_at(address),
                self.metrics and self.metrics.netloc,
            )

    def _metrics_at(self, address: str) -> str | None:
        """Return the metrics' URL with the address of one replica in place of the host name."""
        url = self.metrics
        if url is None or url.hostname != self.host or url.scheme != "http":
            return url and url.geturl()
        return url._replace(netloc=_host_port(address, url.port or 80)).geturl()


@dataclass(frozen=True, slots=True)
class RemotePlatform:
    """The addresses of a running platform, which is neither started nor stopped here."""

    gateways: tuple[str, ...]
    """URLs of the gateway, at which orders are placed."""
    addresses: tuple[Address, ...]
    """Addresses of the other services; a service may have several."""

    @property
    def processes(self) -> Sequence[RemoteReplica]:
        """All replicas that exist now.

        Host names are resolved each time, because a name with several addresses (a headless
        Service) stands for several replicas, which change.
        """
        return tuple(replica for address in self.addresses for replica in address.replicas())

    def of(self, service: str) -> list[RemoteReplica]:
        """Return the replicas of a service that exist now."""
        return [replica for replica in self.processes if replica.service == service]

    def kill(self) -> None:
        """Do nothing, because this process has not started the platform."""


def find_platform(at: Iterable[str]) -> RemotePlatform:
    """Return the platform at these addresses, each `service=address`.

    The first metrics URL of a service belongs to its first gRPC address, and so on. Raises
    DevkitError if an address is malformed or missing, or has no counterpart.
    """
    urls: dict[str, list[str]] = defaultdict(list)
    grpc: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for value in at:
        service, _, address = value.partition("=")
        if service and _HTTP.match(address):
            urls[service].append(address.rstrip("/"))
        elif service and service != _ENTRY and (found := _GRPC.match(address)):
            grpc[service].append((found["host"].strip("[]"), int(found["port"])))
        else:
            raise DevkitError(f"--at {value} is not a valid address; {_FORM}")
    gateways = tuple(urls.pop(_ENTRY, ()))
    missing = [name for name in LEDGER_SERVICES if name not in grpc]
    if missing or not gateways:
        missing = missing if gateways else [_ENTRY, *missing]
        raise DevkitError(f"--at is missing for {', '.join(missing)}; {_FORM}")
    return RemotePlatform(gateways, tuple(_pair_addresses(grpc, urls)))


def grpc_address(at: str, service: str) -> str:
    """Return the host and port of `service=host:port`. Raises DevkitError for anything else."""
    name, _, address = at.partition("=")
    if name != service or not _GRPC.match(address):
        raise DevkitError(
            f"--at {at} is not a valid address; write --at {service}=host:port for its gRPC"
        )
    return address


def _pair_addresses(
    grpc: Mapping[str, Sequence[tuple[str, int]]], urls: Mapping[str, Sequence[str]]
) -> Iterator[Address]:
    """Yield the address of each replica with the URL of its metrics."""
    for service in dict.fromkeys((*grpc, *urls)):
        targets, metrics = grpc.get(service, ()), urls.get(service, ())
        if metrics and len(metrics) != len(targets):
            raise DevkitError(
                f"--at has {len(targets)} gRPC addresses of {service} and {len(metrics)} URLs of"
                " its metrics; pass a URL for each gRPC address, or none"
            )
        for (host, port), url in zip_longest(targets, metrics):
            yield Address(service, host, port, urlsplit(url) if url else None)


def _resolve(host: str) -> list[str]:
    """Return a host's addresses of one family, so that a replica with two is not counted twice."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    # An IPv4 address is preferred, because its family has the smaller number.
    family = min(entry[0] for entry in found)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found if entry[0] == family))


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
