"""Interfaces of running services, whichever tool has started them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["NamedReplica", "Replica", "RunningServices"]


class Replica(Protocol):
    """A process of a service, such as devkit's ServiceProcess."""

    @property
    def service(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def http_url(self) -> str | None:
        """The URL above /metrics; None if it is not known."""

    @property
    def grpc_port(self) -> int | None: ...
    @property
    def grpc_address(self) -> str: ...
    @property
    def log(self) -> Path | None:
        """The log file, if it is on this machine."""


@runtime_checkable
class NamedReplica(Protocol):
    """A replica that was found by a host name."""

    @property
    def authority(self) -> str:
        """Host name and port, by which a proxy routes, instead of those of the address."""

    @property
    def http_host(self) -> str | None:
        """Host name and port of the URL of its metrics, if that is known."""


class RunningServices(Protocol):
    """Running services, such as devkit's Platform."""

    @property
    def processes(self) -> Sequence[Replica]: ...
