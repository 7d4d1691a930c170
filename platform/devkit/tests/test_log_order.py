"""The lines of several logs are shown in the order in which they were written."""

from datetime import datetime

import pytest

from devkit.log_order import Log, in_order

pytestmark = pytest.mark.unit

NOON = datetime(2026, 1, 2, 12).timestamp()
MIDNIGHT = datetime(2026, 1, 2, 0, 0, 30).timestamp()


def line(time: str, text: str) -> str:
    return f"{time} [info     ] {text}"


def test_two_versions_are_merged_by_the_times_of_their_lines() -> None:
    stable = [line("11:59:01.200000", "reserved a"), line("11:59:03.000000", "reserved c")]
    canary = [line("11:59:02.100000", "reserved b")]
    merged = in_order({"stable": Log(stable, NOON), "canary": Log(canary, NOON)})
    assert [name for name, _ in merged] == ["stable", "canary", "stable"]


def test_a_traceback_stays_with_the_line_before_it() -> None:
    one = [line("11:59:01.000000", "failed"), "Traceback (most recent call last):", "ValueError"]
    two = [line("11:59:01.500000", "handled")]
    merged = in_order({"two": Log(two, NOON), "one": Log(one, NOON)})
    assert [name for name, _ in merged] == ["one", "one", "one", "two"]


def test_lines_of_yesterday_come_before_those_of_today() -> None:
    one = [line("23:59:59.000000", "before midnight"), line("00:00:20.000000", "after midnight")]
    two = [line("23:59:58.000000", "before"), line("00:00:10.000000", "after")]
    merged = in_order({"one": Log(one, MIDNIGHT), "two": Log(two, MIDNIGHT)})
    assert [name for name, _ in merged] == ["two", "one", "two", "one"]


def test_a_log_that_ended_yesterday_comes_first() -> None:
    ended = Log([line("23:00:00.000000", "stopped")], NOON - 13 * 3600)
    runs = Log([line("00:10:00.000000", "started")], NOON)
    assert [name for name, _ in in_order({"runs": runs, "ended": ended})] == ["ended", "runs"]


def test_lines_of_json_are_ordered_by_their_timestamp() -> None:
    def json_line(moment: float) -> str:
        at = datetime.fromtimestamp(moment).astimezone().isoformat()
        return f'{{"event": "handled", "timestamp": "{at}"}}'

    one = Log([json_line(NOON), json_line(NOON + 2)], NOON + 9)
    two = Log([json_line(NOON + 1)], NOON + 9)
    assert [name for name, _ in in_order({"one": one, "two": two})] == ["one", "two", "one"]


def test_a_log_without_times_keeps_its_order() -> None:
    merged = list(in_order({"one": Log(["open", "closed"], NOON), "two": Log(["x"], NOON)}))
    assert merged == [("one", "open"), ("one", "closed"), ("two", "x")]
