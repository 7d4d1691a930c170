"""A platform that runs already, anywhere: its addresses, and the replicas behind them.

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

from demo.laws import KEEP
from devkit.errors import DevkitError

__all__ = ["Address", "Elsewhere", "RemoteReplica", "find_platform", "grpc_address"]

_ENTRY = "gateway"
_HTTP = re.compile(r"https?://[^/?#]+/?$")
_GRPC = re.compile(r"(?P<host>[^:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})$")
_FORM = (
    "write --at gateway=http://host:8080 for where orders are placed, --at orders=host:9081 for a"
    " service's gRPC, --at orders=http://host:8081 for its metrics"
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
        """Always true: whoever does not run has no address, or does not answer."""
        return True

    @property
    def grpc_port(self) -> int | None:
        return int(self.grpc_address.rpartition(":")[2])

    @property
    def log(self) -> Path | None:
        return None


@dataclass(frozen=True, slots=True)
class Address:
    """What a service was said to answer at."""

    service: str
    host: str
    """Without the brackets of an IPv6 address."""
    grpc_port: int
    metrics: SplitResult | None = None
    """The URL above its /metrics, if that is known."""

    def replicas(self) -> Iterator[RemoteReplica]:
        """One for each address that the host has now; none if it has no address now."""
        for address in _resolve(self.host):
            yield RemoteReplica(
                self.service,
                _joined(address, self.grpc_port),
                _joined(self.host, self.grpc_port),
                self._metrics_at(address),
                self.metrics and self.metrics.netloc,
            )

    def _metrics_at(self, address: str) -> str | None:
        url = self.metrics
        if url is None or url.hostname != self.host or url.scheme != "http":
            return url and url.geturl()
        return url._replace(netloc=_joined(address, url.port or 80)).geturl()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where its services answer. Nothing of it is started or stopped from here."""

    gateways: tuple[str, ...]
    """URLs under which orders are placed."""
    addresses: tuple[Address, ...]
    """Of the services behind; one may have several."""

    @property
    def processes(self) -> Sequence[RemoteReplica]:
        """Every replica there is now.

        Hosts are resolved each time: one with several addresses (a headless Service) is as many
        replicas, and they change.
        """
        return tuple(replica for address in self.addresses for replica in address.replicas())

    def of(self, service: str) -> list[RemoteReplica]:
        """The replicas of this service there are now."""
        return [replica for replica in self.processes if replica.service == service]

    def kill(self) -> None:
        """End nothing: it belongs to others."""


def find_platform(at: Iterable[str]) -> Elsewhere:
    """The platform at these addresses, each `service=address`.

    The first metrics URL of a service belongs to its first gRPC address, and so on. Raises
    DevkitError for an address that is not understood or has no counterpart, and for a missing one.
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
            raise DevkitError(f"--at {value} is not understood; {_FORM}")
    gateways = tuple(urls.pop(_ENTRY, ()))
    missing = [name for name in KEEP if name not in grpc]
    if missing or not gateways:
        missing = missing if gateways else [_ENTRY, *missing]
        raise DevkitError(f"--at is missing for {', '.join(missing)}; {_FORM}")
    return Elsewhere(gateways, tuple(_addresses(grpc, urls)))


def grpc_address(at: str, service: str) -> str:
    """The host and port of `service=host:port`. Raises DevkitError for anything else."""
    name, _, address = at.partition("=")
    if name != service or not _GRPC.match(address):
        raise DevkitError(f"--at {at} is not understood; write --at {service}=host:port, its gRPC")
    return address


def _addresses(
    grpc: Mapping[str, Sequence[tuple[str, int]]], urls: Mapping[str, Sequence[str]]
) -> Iterator[Address]:
    for service in dict.fromkeys((*grpc, *urls)):
        answers, shows = grpc.get(service, ()), urls.get(service, ())
        if shows and len(shows) != len(answers):
            raise DevkitError(
                f"--at names {len(answers)} gRPC addresses of {service} and {len(shows)} URLs of"
                " its metrics; name as many, or no URL of metrics"
            )
        for (host, port), url in zip_longest(answers, shows):
            yield Address(service, host, port, urlsplit(url) if url else None)


def _resolve(host: str) -> list[str]:
    """Its addresses of one family: a replica that has two is not two replicas."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    family = min(entry[0] for entry in found)  # IPv4 comes first
    return list(dict.fromkeys(str(entry[4][0]) for entry in found if entry[0] == family))


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
