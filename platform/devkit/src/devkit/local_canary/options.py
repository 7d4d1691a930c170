"""The options of canaries on this machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import typer

from devkit.errors import WrongUsage
from devkit.options import split_pairs

__all__ = ["CanaryOptions", "CanaryRef", "CanaryWeights", "parse_canary", "parse_weights"]

CanaryWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--canary",
        help="Run the working tree as a canary that takes this percentage of a service's "
        "requests and events: inventory=30",
    ),
]
CanaryRef = Annotated[
    str | None,
    typer.Option("--canary-ref", help="The git ref that runs as stable. Default: HEAD"),
]

_HIGHEST_WEIGHT = 100


@dataclass(frozen=True)
class CanaryOptions:
    """The canaries of a platform, and the version that runs next to them.

    Args:
        weights: the share of requests and of lanes that each canary takes, in percent, by service.
        ref: the git ref whose code is the stable version of these services.
        match: headers, by name, whose value selects the canary regardless of the weight.
    """

    weights: Mapping[str, int]
    ref: str = "HEAD"
    match: Mapping[str, str] = field(default_factory=dict)


def parse_canary(
    canary: Iterable[str] | None, ref: str | None, match: Iterable[str] | None
) -> CanaryOptions | None:
    """Return the options `--canary`, `--canary-ref` and `--canary-match`; None without a canary.

    Raises:
        WrongUsage: one of them is not valid, or there is no `--canary` that it belongs to.
    """
    weights = parse_weights("--canary", canary or ())
    headers = split_pairs("--canary-match", "end-user=jason", match or ())
    if not weights and (ref is not None or headers):
        raise WrongUsage("--canary-ref and --canary-match need a canary: add --canary inventory=30")
    if not weights:
        return None
    match_by_name = {name.lower(): value for name, value in headers.items()}
    return CanaryOptions(weights, ref or CanaryOptions.ref, match_by_name)


def parse_weights(option: str, values: Iterable[str]) -> dict[str, int]:
    """Parse values such as `inventory=30` into weights by service.

    Raises:
        WrongUsage: a value has another form, or is not a percentage.
    """
    weights = {}
    for service, text in split_pairs(option, "inventory=30", values).items():
        if not text.isdecimal() or int(text) > _HIGHEST_WEIGHT:
            raise WrongUsage(
                f"{option} {service}={text}: the weight is a whole number from 0 to"
                f" {_HIGHEST_WEIGHT}, the canary's share in percent"
            )
        weights[service] = int(text)
    return weights
