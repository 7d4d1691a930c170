"""Unary gRPC calls: a service's `def` method against bare grpc.aio."""

from functools import partial

from bench.comparison import Comparison, Contender, Role, Target
from bench.grpc_unary.product import SKU, product
from bench.serving import Variables, calls, of_a_service, of_the_usual_way

__all__ = ["grpc_unary"]

_COUNT = 5000
_BARE = "bare grpc.aio"
_TRACED = "bare grpc.aio with OpenTelemetry, 5 % sampled"
_OFF = "def"
_ON = "def, 5 % sampled"


def grpc_unary() -> Comparison:
    """Return the comparison."""
    return Comparison(
        name="grpc-unary",
        title="A unary gRPC call, of which 32 run at a time",
        unit="call",
        contenders=(
            _contender(_BARE, Role.FLOOR, "bare"),
            _contender(_TRACED, Role.PEER, "bare", of_the_usual_way),
            _contender(
                _OFF, Role.OURS, "slipway", partial(of_a_service, kind="GRPC", traced=False)
            ),
            _contender(_ON, Role.OURS, "slipway", partial(of_a_service, kind="GRPC", traced=True)),
        ),
        targets=(
            Target("def, telemetry off, against bare grpc.aio", _OFF, _BARE, 0.85),
            Target(
                "def, 5 % sampled, against bare grpc.aio",
                _ON,
                _BARE,
                0.75,
                floor=_TRACED,
                headline="gRPC call with metrics and trace",
            ),
        ),
        caveats=(
            "The server's CPU time counts, and not that of the client, which is the same for all."
            " Our `def` runs on a thread, the bare server's `async def` on the event loop; all run"
            " on uvloop. The floor is the bare server with OpenTelemetry's own interceptor."
        ),
    )


def _contender(
    name: str, role: Role, server: str, variables: Variables = lambda _stage, _port: {}
) -> Contender:
    run = calls(
        f"grpc_unary.{server}", "grpc_unary.client", _COUNT, product(SKU), variables, name=name
    )
    return Contender(name, role, run)
