"""A service in an interpreter of its own, as in a container; and a bare process next to it."""

from collections.abc import Callable, Mapping

from bench.server_process import serving
from bench.services.resting import resting
from bench.stage import Stage
from bench.worker import Sample
from localservers import free_port

__all__ = ["bare_process", "orders"]


def bare_process(stage: Stage) -> Sample:
    """Return what a process with the same servers and clients, and nothing else, takes."""
    return _rest("bench.services.bare", stage, lambda _port: {"BENCH_NATS": stage.nats.url})


def orders(stage: Stage) -> Sample:
    """Return what the service orders takes."""
    database = stage.database("sqlite")

    def settings(port: int) -> dict[str, str]:
        return {
            "APP_HTTP_PORT": str(free_port()),
            "APP_GRPC_PORT": str(port),
            "APP_NATS_URL": stage.nats.url,
            "APP_DATABASE_URL": database,
        }

    return _rest("orders", stage, settings)


def _rest(module: str, stage: Stage, variables: Callable[[int], Mapping[str, str]]) -> Sample:
    port = free_port()
    with serving(module, port, stage.folder, variables(port)) as process:
        return resting(stage, [process.pid])
