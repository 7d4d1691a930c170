"""The replicas of services that run, whoever started them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["Named", "Replica", "Running"]


class Replica(Protocol):
    """A process of a service; devkit's ServiceProcess is one."""

    @property
    def service(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def running(self) -> bool: ...
    @property
    def http_url(self) -> str | None:
        """Where its metrics are, below /metrics; None if that is not known."""

    @property
    def grpc_port(self) -> int | None: ...
    @property
    def grpc_address(self) -> str: ...
    @property
    def log(self) -> Path | None:
        """Its log file, if that is on this machine."""


@runtime_checkable
class Named(Protocol):
    """A replica that was found by the name of its service."""

    @property
    def authority(self) -> str:
        """Host and port as a proxy on the way to it knows them, not those of its address."""

    @property
    def http_host(self) -> str | None:
        """The same of its metrics' URL, if that is known."""


class Running(Protocol):
    """Services that run; devkit's Platform is one."""

    @property
    def processes(self) -> Sequence[Replica]: ...
