"""The result of a run, figures and laws, as text and as JSON."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from textwrap import wrap
from typing import Any

from rich.markup import escape

from demo.catalog import dollars
from demo.laws import Law
from demo.ledgers import Ledgers
from demo.measurements import EventCount, Memory
from demo.record import Record
from demo.versions import VersionCount

__all__ = ["Summary", "Timing", "as_json", "percentile", "render", "summarize"]

_MAX_CASES_SHOWN = 5
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of a run, in seconds."""

    ready: float
    """From the start until every service was ready."""
    placing: float
    """From the first request to the last answer."""
    ending: float
    """From the first request until all orders had ended."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run. Money is in cents, times are in seconds."""

    placed: int
    refused: int
    sent_again: Mapping[str, int]
    confirmed: int
    cancelled: Mapping[str, int]
    """Number of cancelled orders by reason."""
    revenue: int
    """Captured minus refunded amounts."""
    orders_per_second: float
    """Orders placed and ended per second."""
    order_seconds: Mapping[str, float | None]
    """p50, p95 and p99 of ended_at − placed_at; None if no order has ended."""
    held_seconds: float
    """Time in which no basket was sent because orders took too long to end."""
    timing: Timing
    events: Mapping[str, EventCount]
    memory: Mapping[str, Memory]
    restarts: Mapping[str, int]
    """Restarts of processes by name. A restarted process counts its events from 0."""
    versions: Mapping[str, Mapping[str, VersionCount]] = field(default_factory=dict)
    """The work of each version, by service, of services with a canary."""


def summarize(
    record: Record,
    ledgers: Ledgers,
    *,
    timing: Timing,
    events: Mapping[str, EventCount],
    memory: Mapping[str, Memory],
    restarts: Mapping[str, int],
    versions: Mapping[str, Mapping[str, VersionCount]] | None = None,
) -> Summary:
    """Compute the figures from the replay's record, the ledgers and the measurements."""
    entries = ledgers.orders.values()
    durations = sorted(entry.seconds for entry in entries if entry.seconds is not None)
    reasons = Counter(entry.reason or "" for entry in entries if entry.status == "cancelled")
    return Summary(
        placed=len(record.placed),
        refused=len(record.refused),
        sent_again=dict(record.sent_again.most_common()),
        confirmed=sum(entry.status == "confirmed" for entry in entries),
        cancelled=dict(reasons.most_common()),
        revenue=sum(paid.captured - paid.refunded for paid in ledgers.payments.values()),
        orders_per_second=len(record.placed) / timing.ending if timing.ending > 0 else 0.0,
        order_seconds={f"p{rank}": percentile(durations, rank) for rank in (50, 95, 99)},
        held_seconds=record.held_seconds,
        timing=timing,
        events=events,
        memory=memory,
        restarts=restarts,
        versions=versions or {},
    )


def percentile(ascending: Sequence[float], rank: int) -> float | None:
    """Return the smallest value that at least `rank` % don't exceed; None without values."""
    if not ascending:
        return None
    return ascending[max(math.ceil(len(ascending) * rank / 100), 1) - 1]


def as_json(summary: Summary, laws: Iterable[Law], options: Mapping[str, object]) -> dict[str, Any]:
    """Return figures, laws and the options of the run as JSON values."""
    listed = [asdict(law) | {"holds": law.holds} for law in laws]
    return {
        "options": dict(options),
        "summary": asdict(summary),
        "laws": listed,
        "all_laws_hold": all(law["holds"] for law in listed),
    }


def render(summary: Summary, laws: Sequence[Law], width: int) -> Iterator[str]:
    """Yield lines for a terminal of `width` columns, in rich's markup."""
    yield from _render_figures(summary)
    for service, counts in summary.versions.items():
        yield ""
        yield from _render_table(
            (service, *(each.name for each in fields(VersionCount))),
            _rows_of_versions(counts),
        )
    if summary.events:
        yield ""
        yield from _render_table(
            ("events", "handled", "seen again", "failed"),
            [
                (type.rpartition(".")[2], f"{n.handled:,}", f"{n.seen_again:,}", f"{n.failed:,}")
                for type, n in summary.events.items()
            ],
        )
    if summary.memory:
        yield ""
        yield from _render_table(
            ("memory, MiB", "PSS", "RSS"),
            [
                (name, _format_mib(used.pss), _format_mib(used.rss))
                for name, used in summary.memory.items()
            ],
        )
    yield ""
    yield from _render_laws(laws, width)


def _render_figures(summary: Summary) -> Iterator[str]:
    """Yield the lines of the table of figures."""
    rows = [("placed", f"{summary.placed:,}")]
    if summary.refused:
        rows.append(("refused", f"{summary.refused:,}"))
    if summary.sent_again:
        rows.append(("sent again", _format_counts(summary.sent_again)))
    rows += [
        ("confirmed", f"{summary.confirmed:,}"),
        ("cancelled", _format_counts(summary.cancelled)),
        ("revenue", dollars(summary.revenue)),
        (
            "speed",
            f"{summary.orders_per_second:.0f} orders/s"
            f" (all placed after {summary.timing.placing:.1f} s,"
            f" all ended after {summary.timing.ending:.1f} s)",
        ),
        ("placed to ended", _format_latencies(summary.order_seconds)),
        *_render_held(summary),
        ("ready", f"after {summary.timing.ready:.1f} s"),
    ]
    if summary.restarts:
        rows.append(
            (
                "restarted",
                f"{_format_counts(summary.restarts)}; their events are counted since then",
            )
        )
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        yield f"{label:<{width}}  {escape(value)}"


def _render_held(summary: Summary) -> Iterator[tuple[str, str]]:
    if summary.held_seconds:
        yield (
            "held back",
            f"{summary.held_seconds:.0f} s without sending baskets: this machine accepts orders"
            " faster than it ends them",
        )


def _format_counts(counts: Mapping[str, int]) -> str:
    total = f"{sum(counts.values()):,}"
    parts = ", ".join(f"{n:,} {_without_underscores(key)}" for key, n in counts.items())
    return f"{total} ({parts})" if parts else total


def _format_latencies(seconds: Mapping[str, float | None]) -> str:
    known = [f"{name} {value:.2f} s" for name, value in seconds.items() if value is not None]
    return ", ".join(known) or "no order has ended"


def _without_underscores(key: str) -> str:
    return key.replace("_", " ")


def _format_mib(size: int | None) -> str:
    return "?" if size is None else f"{size / _MIB:.0f}"


def _render_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Align the first column left and the numbers right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        first = f"{escape(row[0]):<{widths[0]}}"
        rest = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        line = "  ".join((first, *rest))
        yield f"[dim]{line}[/dim]" if row is head else line


def _rows_of_versions(counts: Mapping[str, VersionCount]) -> list[tuple[str, ...]]:
    """Return a row for each version, with its share of the work of all."""
    names = [each.name for each in fields(VersionCount)]
    totals = {name: sum(getattr(count, name) for count in counts.values()) for name in names}
    return [
        (
            version,
            *(_with_share(getattr(count, name), totals[name]) for name in names),
        )
        for version, count in counts.items()
    ]


def _with_share(number: int, total: int) -> str:
    return f"{number:,} ({number / total:.0%})" if total else "0"


def _render_laws(laws: Sequence[Law], width: int) -> Iterator[str]:
    """Yield a line for each law, and some of the cases that break it."""
    longest = max((len(law.name) for law in laws), default=0)
    on_one_line = all(len(f"✓ {'':<{longest}}  {law.compared}") <= width for law in laws)
    for law in laws:
        mark = "[green]✓[/green]" if law.holds else "[bold red]✗[/bold red]"
        if on_one_line:
            yield f"{mark} {law.name:<{longest}}  {escape(law.compared)}"
        else:
            yield f"{mark} {law.name}"
            yield from (f"    {escape(part)}" for part in wrap(law.compared, width - 4))
        for case in law.broken[:_MAX_CASES_SHOWN]:
            yield f"    [red]{escape(case)}[/red]"
        if len(law.broken) > _MAX_CASES_SHOWN:
            yield f"    [red]and {len(law.broken) - _MAX_CASES_SHOWN:,} more[/red]"
