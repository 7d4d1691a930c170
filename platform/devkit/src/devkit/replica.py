"""One replica of a service: its addresses, its variables and its log, kept over restarts."""

from dataclasses import dataclass
from pathlib import Path

from devkit.errors import DevkitError

__all__ = ["Replica"]


@dataclass(kw_only=True, eq=False)
class Replica:
    """Settings with which a process of a service is started.

    Args:
        service: the service's name.
        replica: its number among the replicas of this service, from 0.
        track: `stable` or `canary` if two versions of the service run; otherwise empty.
        package: the package that `python -m` runs.
        arguments: those of a command, for example `migrate`; without one the service is served.
        http_port: the port of HTTP on 127.0.0.1.
        grpc_port: the port of gRPC; None if the service serves no gRPC.
        environment: variables added to those of the runner.
        log: the file that the output of every run is appended to.
        folder: the working directory.
    """

    service: str
    replica: int
    package: str
    http_port: int
    grpc_port: int | None
    environment: dict[str, str]
    log: Path
    folder: Path
    track: str = ""
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The service's name, for example `orders`; `orders-1` for the second replica.

        The name contains the track, if there is one: `orders-canary`.
        """
        name = f"{self.service}-{self.track}" if self.track else self.service
        return f"{name}-{self.replica}" if self.replica else name

    @property
    def version(self) -> str:
        """The version that the process was given, for example `canary`; empty without one."""
        return self.environment.get("APP_VERSION", "")

    @property
    def http_url(self) -> str:
        """The HTTP address, for example `http://127.0.0.1:8081`."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        """Host and port of gRPC. Raises DevkitError if the service serves no gRPC."""
        if self.grpc_port is None:
            raise DevkitError(f"{self.service} serves no gRPC")
        return f"127.0.0.1:{self.grpc_port}"

    def lines(self) -> list[str]:
        """Return the lines that all runs have written to the log."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace", encoding="utf-8").splitlines()
