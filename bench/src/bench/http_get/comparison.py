"""HTTP requests: a service of this platform against bare FastAPI and the three usual libraries."""

from functools import partial

from bench.comparison import Comparison, Contender, Role, Target
from bench.http_get.route import ANSWER
from bench.serving import Variables, calls, of_a_service, of_the_usual_way

__all__ = ["http_get"]

_COUNT = 10_000
_STARLETTE = "bare Starlette"
_BARE = "bare FastAPI"
_USUAL = "FastAPI with structlog, Prometheus instrumentator, OpenTelemetry 5 % sampled"
_OFF = "service, telemetry off"
_ON = "service, 5 % sampled"


def http_get() -> Comparison:
    """Return the comparison."""
    return Comparison(
        name="http-get",
        title="An HTTP GET that answers with a small JSON object, over 32 open connections",
        unit="request",
        contenders=(
            _contender(_STARLETTE, Role.FLOOR, "starlette"),
            _contender(_BARE, Role.FLOOR, "bare"),
            _contender(_USUAL, Role.PEER, "usual", of_the_usual_way),
            _contender(
                _OFF, Role.OURS, "slipway", partial(of_a_service, kind="HTTP", traced=False)
            ),
            _contender(_ON, Role.OURS, "slipway", partial(of_a_service, kind="HTTP", traced=True)),
        ),
        targets=(
            Target(
                "service with metrics, trace and JSON log: its cost in bare FastAPI's",
                _ON,
                _BARE,
                1.9,
                floor=_USUAL,
                at_most=True,
                headline="HTTP request with metrics, trace and log",
            ),
        ),
        caveats=(
            "The server's CPU time counts, and not that of the client, which is the same for all."
            " The service records metrics and an access log in JSON in both variants; the “floor”"
            " of the target is the peer, the three usual libraries."
        ),
    )


def _contender(
    name: str, role: Role, server: str, variables: Variables = lambda _stage, _port: {}
) -> Contender:
    run = calls(f"http_get.{server}", "http_get.client", _COUNT, ANSWER, variables, name=name)
    return Contender(name, role, run)
