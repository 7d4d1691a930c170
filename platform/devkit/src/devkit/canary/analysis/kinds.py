"""Kinds of requests and events, and the comparison of sides whose traffic is mixed differently.

Header matches and mirrored calls give the canary other methods than stable. Stable's figures are
therefore weighted by the canary's mix of kinds (direct standardization), which leaves them as they
are if both mixes are equal.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devkit.canary.analysis.samples import Series

__all__ = ["Mix", "kind_of", "mix_of"]


@dataclass(frozen=True)
class Mix:
    """The canary's mix of the kinds that both sides have.

    Args:
        shares: the share of each kind in the canary's traffic; the shares add up to 1.
        effective: how many requests of stable have the same evidence, weighted by these shares.
    """

    shares: Mapping[str, float]
    effective: float


def kind_of(series: Series, by: Iterable[str]) -> str:
    """Return the kind of a series: the values of these labels."""
    labels = dict(series.labels)
    return " ".join(labels.get(name, "") for name in by).strip()


def mix_of(stable: Mapping[str, float], canary: Mapping[str, float]) -> Mix:
    """Return the canary's mix of the kinds for which both sides have traffic."""
    common = {kind: canary[kind] for kind in sorted(canary) if canary[kind] and stable.get(kind)}
    total = sum(common.values())
    if not total:
        return Mix({}, 0.0)
    shares = {kind: of / total for kind, of in common.items()}
    spread = sum(share**2 / stable[kind] for kind, share in shares.items())
    return Mix(shares, 1 / spread)
