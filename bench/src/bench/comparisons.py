"""All comparisons of the benchmark, in the order of the document."""

from collections.abc import Sequence

from bench.cloudevents.comparison import cloudevents
from bench.comparison import Comparison
from bench.growth.comparison import growing
from bench.grpc_unary.comparison import grpc_unary
from bench.handlers import comparison as handlers
from bench.http_get.comparison import http_get
from bench.relay import comparison as relay
from bench.saga.comparison import saga
from bench.services import comparison as services
from devkit.errors import WrongUsage

__all__ = ["all_comparisons", "choose"]


def all_comparisons() -> list[Comparison]:
    """Return all comparisons."""
    return [
        handlers.on_sqlite(),
        handlers.on_postgres(),
        relay.on_sqlite(),
        relay.on_postgres(),
        cloudevents(),
        grpc_unary(),
        http_get(),
        *saga(),
        *growing(),
        services.starting(),
        services.at_rest(),
    ]


def choose(names: Sequence[str]) -> list[Comparison]:
    """Return the comparisons whose name contains one of `names`; all if there are no names.

    Raises:
        WrongUsage: a name fits none.
    """
    found = all_comparisons()
    for name in names:
        if not any(name in comparison.name for comparison in found):
            known = ", ".join(comparison.name for comparison in found)
            raise WrongUsage(f"there is no comparison “{name}”. There are: {known}")
    return [c for c in found if not names or any(name in c.name for name in names)]
