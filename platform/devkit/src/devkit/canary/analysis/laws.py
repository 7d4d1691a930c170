"""A service's laws: what must be the same in both versions, from the table `canary.laws`.

A law compares one of the service's own metrics, so that it needs no Prometheus server:

    - name: declined payments            # a share: of all payments, those that were declined
      share: payments_total{outcome="declined"}
      of: payments_total
    - name: authorized amounts           # a distribution: the values of a histogram
      histogram: payment_amount

A law is broken in both directions, by a larger and by a smaller figure. `by` names labels whose
values are compared one by one, too; `unit` is what is counted; `matters` is the difference in
percent that must have been seen before a step is taken. A difference of half of it may abort.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from devkit.canary.analysis.gates import GATES, DistanceGate, Gate, Margin, ShareGate
from devkit.canary.analysis.selectors import read_selector
from devkit.errors import WrongUsage

__all__ = ["read_laws"]

_KEYS = frozenset({"name", "share", "of", "histogram", "by", "unit", "matters"})
_SHARE_PERCENT = 5.0
_HISTOGRAM_PERCENT = 20.0


def read_laws(laws: Iterable[Mapping[str, Any]]) -> tuple[Gate, ...]:
    """Return the gates of a service's laws.

    Raises:
        WrongUsage: a law is incomplete, has an unknown key, or has the name of another gate.
    """
    gates: list[Gate] = []
    names = {gate.name for gate in GATES}
    for law in laws:
        gate = _read(law)
        if gate.name in names:
            raise WrongUsage(f"canary.laws: {gate.name!r} is the name of another figure")
        names.add(gate.name)
        gates.append(gate)
    return tuple(gates)


def _read(law: Mapping[str, Any]) -> Gate:
    name = str(law.get("name", ""))
    place = f"canary.laws: {name or dict(law)}"
    if unknown := sorted(set(law) - _KEYS):
        raise WrongUsage(f"{place} has unknown keys: {', '.join(unknown)}")
    if not name or ("histogram" in law) == ("share" in law) or ("share" in law) != ("of" in law):
        raise WrongUsage(f"{place} needs a name, and a histogram or a share with `of`")
    by = tuple(map(str, law.get("by", ())))
    unit = str(law.get("unit", "values"))
    if "histogram" in law:
        margin = _margin(law, _HISTOGRAM_PERCENT, place)
        histogram = read_selector(str(law["histogram"]))
        return DistanceGate(name, histogram, by, unit, margin, either=True, seconds=False)
    margin = _margin(law, _SHARE_PERCENT, place)
    bad, of = read_selector(str(law["share"])), read_selector(str(law["of"]))
    return ShareGate(name, (bad,), (of,), by, unit, margin, either=True)


def _margin(law: Mapping[str, Any], default: float, place: str) -> Margin:
    percent = float(law.get("matters", default))
    if not 0 < percent < 100:
        raise WrongUsage(f"{place}: matters is a percentage between 0 and 100, not {percent:g}")
    return Margin(least=percent / 200, matters=percent / 100)
