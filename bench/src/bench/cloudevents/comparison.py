"""CloudEvents in binary and structured mode against the SDK."""

import time
from collections.abc import Callable

from bench.cloudevents import sdk, slipway
from bench.cloudevents.sample import EventSample
from bench.comparison import Comparison, Contender, Role, Target
from bench.meter import OWN
from bench.stage import Stage
from bench.worker import Sample
from devkit.errors import DevkitError

__all__ = ["cloudevents"]

_COUNT = 3000
_Operations = Callable[[EventSample], dict[str, Callable[[], tuple[str, str]]]]


def cloudevents() -> Comparison:
    """Return the comparison."""
    return Comparison(
        name="cloudevents",
        title="Encoding and decoding an order of five lines as a CloudEvent",
        unit="event",
        contenders=(
            *(_contender("SDK", Role.PEER, name, sdk.operations) for name in _OF_THE_SDK),
            *(_contender("ours", Role.OURS, name, slipway.operations) for name in _OURS),
        ),
        targets=tuple(
            Target(f"{ours}, SDK: {theirs}", f"ours, {ours}", f"SDK, {theirs}", reach)
            for ours, (theirs, reach) in _OURS.items()
        ),
        caveats=(
            "Attributes and the order are equal. The SDK's data are a dictionary to and from JSON;"
            " ours are the contract's message, to and from protobuf or JSON. Its headers are a"
            " dictionary; ours are encoded to the text that the outbox stores. Both run in one"
            " process, without a broker."
        ),
    )


_OF_THE_SDK = ("encode binary", "decode binary", "encode structured", "decode structured")
# Our operation -> the SDK's, and the target.
_OURS = {
    "encode protobuf": ("encode binary", 6.0),
    "decode protobuf": ("decode binary", 6.0),
    "encode json": ("encode binary", 1.5),
    "decode json": ("decode binary", 1.5),
    "encode structured": ("encode structured", 1.5),
    "decode structured": ("decode structured", 1.5),
}


def _contender(whose: str, role: Role, name: str, operations: _Operations) -> Contender:
    def run(stage: Stage) -> Sample:
        sample = EventSample(str(stage.orders))
        operation = operations(sample)[name]
        ids = (sample.id, sample.order["order_id"])
        if operation() != ids:
            raise DevkitError(f"{whose}, {name}: the event has other ids than {ids}")
        count = stage.count(_COUNT)
        began, cpu = time.perf_counter(), time.thread_time()
        for _ in range(count):
            operation()
        return Sample(count, time.perf_counter() - began, {OWN: time.thread_time() - cpu})

    return Contender(f"{whose}, {name}", role, run)
