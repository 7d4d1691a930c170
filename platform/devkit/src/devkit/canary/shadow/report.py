"""The report of a comparison: a table of counts, and differences as unified diffs."""

import difflib
import json
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from chassis.operations.command_line.table import counted, table
from devkit.canary.shadow.comparison import Comparison, Difference, Group

__all__ = ["print_report"]

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def print_report(comparison: Comparison, output: Console, most_diffs: int) -> None:
    """Print the counts of each handler and table, then up to `most_diffs` differences of each."""
    handlers = [_handler_row(group) for group in comparison.handlers]
    tables = [_table_row(group) for group in comparison.tables]
    for text in (table(handlers), table(tables)):
        if text:
            output.print(text, markup=False)
            output.print()
    for group in comparison.groups:
        _print_failed_in_both(group, output)
        _print_differences(group, output, most_diffs)
    counts = ", ".join(
        _count(groups, of)
        for groups, of in ((comparison.handlers, "events"), (comparison.tables, "rows"))
    )
    found, style = "no difference", "bold green"
    if comparison.different:
        found, style = "differences", "bold red"
    output.print(Text(f"{found}: {counts}", style=style))


def _count(groups: Sequence[Group], of: str) -> str:
    """Return how many differ: 3 of 1,000 events."""
    different = sum(len(group.differences) for group in groups)
    failed = sum(len(group.failed_in_both) for group in groups)
    in_both = f" ({failed:,} failed in both)" if failed else ""
    return f"{different:,} of {sum(group.number for group in groups):,} {of}{in_both}"


def _handler_row(group: Group) -> dict[str, object]:
    return {
        "handler": group.name,
        "events": group.number,
        "equal": group.equal,
        "different": len(group.differences),
        "failed_only_in_canary": group.failed_in_canary,
        "not_run": group.not_run,
        "stable_ms": _milliseconds(group.stable_seconds, group.number),
        "canary_ms": _milliseconds(group.canary_seconds, group.number),
    }


def _table_row(group: Group) -> dict[str, object]:
    return {
        "table": group.name,
        "rows": group.number,
        "equal": group.equal,
        "different": len(group.differences),
    }


def _milliseconds(seconds: float, number: int) -> float:
    """Return the mean time in milliseconds."""
    return round(1000 * seconds / max(1, number), 2)


def _print_failed_in_both(group: Group, output: Console) -> None:
    """Say how many events of a handler failed in both versions, because they compare little."""
    if group.failed_in_both:
        failed = f"{len(group.failed_in_both):,} of {group.number:,} events failed in both versions"
        first = f"the first: {group.failed_in_both[0]}"
        hint = "A shadow begins with empty tables: docs/canary.md says how a service fills them."
        output.print(Text(f"{group.name}: {failed}; {first}\n{hint}\n", style="yellow"))


def _print_differences(group: Group, output: Console, most: int) -> None:
    """Print the first differences of a handler or a table."""
    for difference in group.differences[:most]:
        for line in _diff(difference):
            output.print(Text(line, style=_STYLES.get(line[:1], "")))
        output.print()
    if (left := len(group.differences) - most) > 0 and most:
        output.print(f"{group.name}: {counted(left, 'difference')} more", markup=False)
        output.print()


def _diff(difference: Difference) -> Iterator[str]:
    """Yield the lines of a unified diff."""
    yield difference.title
    yield from difflib.unified_diff(
        _lines(difference.stable), _lines(difference.canary), "stable", "canary", lineterm="", n=2
    )


def _lines(shown: object) -> list[str]:
    if shown is None:
        return []
    return json.dumps(shown, indent=1, ensure_ascii=False, sort_keys=True).splitlines()
