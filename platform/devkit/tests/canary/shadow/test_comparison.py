"""Two versions are compared event by event and row by row."""

import json
from typing import Any

import pytest
from rich.console import Console

from devkit.canary.shadow.comparison import Comparison, compare
from devkit.canary.shadow.lines import read_lines
from devkit.canary.shadow.report import print_report

pytestmark = pytest.mark.unit


def event(place: str, outcome: str = "handled", **values: Any) -> str:
    """Return a line of a version's shadow."""
    return json.dumps(
        {
            "place": place,
            "event": f"e-{place}",
            "type": "shop.orders.v1.OrderPlaced",
            "key": "o-1",
            "handler": "payments.handlers.pay",
            "outcome": outcome,
            "reason": "",
            "published": [],
            "seconds": 0.001,
        }
        | values
    )


def row(id: int, **values: Any) -> str:
    """Return a line about a row."""
    return json.dumps({"table": "payments", "key": {"id": id}, "row": {"id": id} | values})


def compared(stable: list[str], canary: list[str]) -> Comparison:
    return compare(read_lines(stable), read_lines(canary))


def test_equal_versions_differ_in_nothing_but_time() -> None:
    lines = [event("orders#1"), event("orders#2", "rejected", reason="rejected: no"), row(1, a=2)]
    slower = [event("orders#1", seconds=9), *lines[1:]]
    comparison = compared(lines, slower)
    assert comparison.different == 0
    (group,) = comparison.handlers
    assert (group.number, group.equal) == (2, 2)
    assert (group.stable_seconds, group.canary_seconds) == (0.002, 9.001)
    assert [table.number for table in comparison.tables] == [1]


def test_another_outcome_reason_or_published_event_is_a_difference() -> None:
    paid = {"type": "shop.payments.v1.Paid", "key": "o-1", "data": {"amount": "5"}}
    stable = [event("a#1"), event("a#2"), event("a#3", published=[paid]), event("a#4", "failed")]
    canary = [
        event("a#1", "failed", reason="ValueError: no"),
        event("a#2", published=[paid]),
        event("a#3", published=[paid | {"data": {"amount": "10"}}]),
        event("a#4", "failed", reason="KeyError: 1"),
    ]
    (group,) = compared(stable, canary).handlers
    assert (group.number, group.equal, len(group.differences)) == (4, 0, 4)
    assert group.failed_in_canary == 1
    assert group.differences[0].title == "shop.orders.v1.OrderPlaced e-a#1 of key o-1 (a#1)"


def test_an_event_that_one_version_does_not_handle_is_a_difference() -> None:
    missing = event("a#1", "not handled", handler="")
    comparison = compared([event("a#1"), event("a#2")], [missing])
    (group,) = comparison.handlers
    assert (group.name, group.number, group.failed_in_canary) == ("payments.handlers.pay", 2, 2)
    assert len(group.differences) == 2
    new = compared([missing], [event("a#1")]).handlers[0]
    assert (len(new.differences), new.failed_in_canary) == (1, 0)


def test_a_renamed_handler_is_compared_with_its_earlier_name() -> None:
    (group,) = compared([event("a#1")], [event("a#1", handler="payments.pay")]).handlers
    assert (group.name, group.equal) == ("payments.handlers.pay → payments.pay", 1)


def test_rows_are_compared_in_the_columns_that_both_versions_have() -> None:
    stable = [row(1, amount=5), row(2, amount=5), row(3, amount=5)]
    canary = [row(1, amount=5, new=None), row(2, amount=6, new=None), row(4, amount=5, new=1)]
    (table,) = compared(stable, canary).tables
    assert (table.number, table.equal) == (4, 1)
    titles = [difference.title for difference in table.differences]
    assert titles == ["payments id=2", "payments id=3", "payments id=4"]
    assert table.differences[1].canary is None
    assert table.differences[2].stable is None


def test_lines_of_the_log_are_ignored() -> None:
    log = ["handled: 1", '{"event": "started", "level": "info"}', "{broken", "{}", "[1]", ""]
    assert read_lines(log).events == {}
    assert read_lines([*log, event("a#1")]).events.keys() == {"a#1"}


def test_the_report_has_counts_diffs_and_how_many_more_there_are() -> None:
    output = Console(record=True, width=200, file=None, quiet=True)
    stable = [event(f"a#{n}", published=[{"data": {"amount": "5"}}]) for n in range(3)]
    canary = [event(f"a#{n}", published=[{"data": {"amount": "9"}}]) for n in range(3)]
    output.quiet = False
    with output.capture() as captured:
        print_report(compared(stable, canary), output, 1)
    lines = captured.get().splitlines()
    assert lines[0].split()[:5] == ["handler", "events", "equal", "different", "failed"]
    assert lines[1].split() == ["payments.handlers.pay", "3", "0", "3", "0", "0", "1.0", "1.0"]
    assert lines[3:6] == [
        "shop.orders.v1.OrderPlaced e-a#0 of key o-1 (a#0)",
        "--- stable",
        "+++ canary",
    ]
    assert '-    "amount": "5"' in lines
    assert '+    "amount": "9"' in lines
    assert lines[-3] == "payments.handlers.pay: 2 differences more"
    assert lines[-1] == "differences: 3 of 3 events, 0 of 0 rows"


def test_events_that_fail_in_both_versions_are_named_because_they_compare_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [
        event("a#1", "failed", reason="LookupError: no order"),
        event("a#2", "failed", reason="LookupError: no order"),
        event("a#3"),
        event("a#4", "rejected", reason="rejected: no"),
    ]
    print_report(compared(lines, lines), Console(width=200), 3)
    printed = capsys.readouterr().out
    assert "payments.handlers.pay: 2 of 4 events failed in both versions" in printed
    assert "the first: LookupError: no order" in printed
    assert "no difference: 0 of 4 events (2 failed in both), 0 of 0 rows" in printed
