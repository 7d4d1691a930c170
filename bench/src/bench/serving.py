"""Contenders that are servers: each is started once, and a client of its own process calls it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from bench.meter import OWN
from bench.server_process import ServerProcess, serving
from bench.stage import Stage
from bench.telemetry import SAMPLED
from bench.variables import ENDPOINT
from bench.worker import Sample, Work
from localservers import free_port

__all__ = ["Variables", "calls", "of_a_service", "of_the_usual_way"]

Variables = Callable[[Stage, int], Mapping[str, str]]


def _endpoint(stage: Stage) -> str:
    """Return the URL of a backend of traces, which is started when it is first needed."""
    sink = stage.keep("otlp_sink", partial(_start, stage, "otlp_sink", free_port(), {}))
    return f"http://{sink.address}"


def of_the_usual_way(stage: Stage, _port: int) -> dict[str, str]:
    """Return the variables by which a server records traces with OpenTelemetry's SDK."""
    return {ENDPOINT: _endpoint(stage)}


def of_a_service(stage: Stage, port: int, *, kind: str, traced: bool) -> dict[str, str]:
    """Return the settings of a service of this platform that serves `kind` on `port`."""
    ports = {f"APP_{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC")}
    settings = {**ports, f"APP_{kind}_PORT": str(port), "APP_LOG_FORMAT": "json"}
    if traced:
        settings["APP_OTLP_ENDPOINT"] = _endpoint(stage)
        settings["APP_TRACE_SAMPLE_RATIO"] = str(SAMPLED)
    return settings


def calls(
    server: str,
    client: str,
    count: int,
    answer: object,
    variables: Variables = lambda _stage, _port: {},
    *,
    name: str = "",
) -> Callable[[Stage], Sample]:
    """Return a contender: `count` calls of the module `client` to the module `server`.

    The CPU time of the server counts, and not that of the client, which is the same for all. Each
    answer must equal `answer`.
    """

    def run(stage: Stage) -> Sample:
        port = free_port()
        process = stage.keep(
            f"{server} {name}",
            lambda exits: _start(stage, server, port, variables(stage, port), exits),
        )
        work = Work(
            count=stage.count(count),
            warm=0 if stage.tiny else count // 10,
            address=process.address,
            servers={OWN: process.pid},
        )
        sample = stage.run(client, work)
        assert sample.check == {"answers": {str(answer): work.count}}, sample.check
        return sample

    return run


def _start(
    stage: Stage, module: str, port: int, variables: Mapping[str, str], exits: ExitStack
) -> ServerProcess:
    return exits.enter_context(serving(f"bench.{module}", port, stage.folder, variables))
