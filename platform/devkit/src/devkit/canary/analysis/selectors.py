"""Selectors of series, as in PromQL: `events_given_up_total{to="dead_letters",type=~"shop.*"}`."""

import re
from dataclasses import dataclass

from devkit.canary.analysis.samples import Series
from devkit.errors import WrongUsage

__all__ = ["Matcher", "Selector", "read_selector"]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_MATCHER = re.compile(rf'\s*({_NAME})\s*(=~|!~|!=|=)\s*"([^"\\]*)"\s*')
_SELECTOR = re.compile(rf"\s*({_NAME})\s*(?:\{{(.*)\}})?\s*")


@dataclass(frozen=True)
class Matcher:
    """A condition of a label: equal, unequal, or a regular expression for the whole value."""

    label: str
    operator: str
    value: str

    def matches(self, value: str) -> bool:
        """Return whether a value fulfils the condition; that of a missing label is empty."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        return (re.fullmatch(self.value, value) is not None) == (self.operator == "=~")

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value}"'


@dataclass(frozen=True)
class Selector:
    """A metric's name with conditions of its labels."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def matches(self, series: Series) -> bool:
        """Return whether the series is selected."""
        if series.name != self.name:
            return False
        labels = dict(series.labels) if self.matchers else {}
        return all(each.matches(labels.get(each.label, "")) for each in self.matchers)

    def promql(self, *more: str, suffix: str = "") -> str:
        """Return the selector for Prometheus, with `more` conditions and the name's suffix."""
        conditions = ",".join([*map(str, self.matchers), *more])
        return f"{self.name}{suffix}{{{conditions}}}" if conditions else f"{self.name}{suffix}"

    def __str__(self) -> str:
        return self.promql()


def read_selector(text: str) -> Selector:
    """Read a selector: a metric's name, and conditions in braces if any.

    Raises:
        WrongUsage: it is not one; functions and operators of PromQL are refused, because the pods'
            own /metrics have no server that would compute them.
    """
    parts = _SELECTOR.fullmatch(text)
    if parts is None:
        raise WrongUsage(f'{text!r} is not a selector such as payments_total{{outcome="declined"}}')
    matchers, rest = [], parts[2] or ""
    while rest:
        matcher = _MATCHER.match(rest)
        if matcher is None or rest[matcher.end() : matcher.end() + 1] not in ("", ","):
            raise WrongUsage(f"{text!r} has a condition that cannot be read: {rest!r}")
        matchers.append(Matcher(*matcher.groups()))
        rest = rest[matcher.end() + 1 :]
    return Selector(parts[1], tuple(matchers))
