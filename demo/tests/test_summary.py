"""The result of a run as text and as JSON."""

import json
from dataclasses import replace

import pytest
from rich.text import Text

from demo.catalog import Catalog
from demo.laws import Law, check
from demo.ledgers import Ledgers
from demo.measurements import EventCount, Memory, count_events
from demo.record import Record
from demo.summary import Summary, Timing, as_json, percentile, render, summarize

pytestmark = pytest.mark.unit

MIB = 1024 * 1024


@pytest.fixture
def summary(record: Record, ledgers: Ledgers) -> Summary:
    return summarize(
        record,
        ledgers,
        timing=Timing(ready=4.0, placing=2.0, ending=2.5),
        events={
            "shop.orders.v1.OrderPlaced": EventCount(handled=4, seen_again=1, failed=0),
            "shop.payments.v1.PaymentAuthorized": EventCount(handled=1234, seen_again=0, failed=2),
        },
        memory={"gateway": Memory(61 * MIB, 80 * MIB), "nats": Memory(None, 20 * MIB)},
        restarts={},
    )


def shown(summary: Summary, laws: list[Law], width: int = 200) -> list[str]:
    return [Text.from_markup(line).plain for line in render(summary, laws, width)]


class TestFigures:
    def test_are_counted_from_the_record_and_the_ledgers(self, summary: Summary) -> None:
        assert (summary.placed, summary.refused, summary.confirmed) == (4, 0, 1)
        assert summary.cancelled == {"out_of_stock": 1, "timed_out": 1, "payment_declined": 1}
        assert summary.revenue == 300
        assert summary.orders_per_second == 4 / 2.5
        assert summary.order_seconds == {"p50": 0.2, "p95": 0.4, "p99": 0.4}

    def test_are_empty_without_orders(self) -> None:
        empty = summarize(
            Record(),
            Ledgers({}, {}, {}, {}, {}),
            timing=Timing(1, 0, 0),
            events={},
            memory={},
            restarts={},
        )
        assert empty.orders_per_second == 0
        assert empty.order_seconds == {"p50": None, "p95": None, "p99": None}
        assert any("no order has ended" in line for line in shown(empty, []))

    def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(self) -> None:
        hundred = [float(number) for number in range(1, 101)]
        assert [percentile(hundred, rank) for rank in (50, 95, 99)] == [50, 95, 99]
        assert percentile([1.0], 99) == percentile([1.0], 50) == 1
        assert percentile([1.0, 2.0, 3.0], 50) == 2


class TestText:
    def test_is_aligned(self, summary: Summary) -> None:
        assert shown(summary, []) == [
            "placed           4",
            "confirmed        1",
            "cancelled        3 (1 out of stock, 1 timed out, 1 payment declined)",
            "revenue          $3.00",
            "speed            2 orders/s (all placed after 2.0 s, all ended after 2.5 s)",
            "placed to ended  p50 0.20 s, p95 0.40 s, p99 0.40 s",
            "ready            after 4.0 s",
            "",
            "events             handled  seen again  failed",
            "OrderPlaced              4           1       0",
            "PaymentAuthorized    1,234           0       2",
            "",
            "memory, MiB  PSS  RSS",
            "gateway       61   80",
            "nats           ?   20",
            "",
        ]

    def test_shows_refusals_retries_and_restarts_only_if_there_were_some(
        self, summary: Summary
    ) -> None:
        with_faults = replace(
            summary,
            refused=1,
            sent_again={"503": 2, "ReadError": 1},
            held_seconds=41.4,
            restarts={"orders": 2},
        )
        lines = shown(with_faults, [])
        assert "refused          1" in lines
        assert "sent again       3 (2 503, 1 ReadError)" in lines
        assert (
            "held back        41 s without sending baskets: this machine accepts orders faster"
            " than it ends them"
        ) in lines
        assert "restarted        2 (2 orders); their events are counted since then" in lines

    def test_marks_each_law_and_lists_what_breaks_it(
        self, summary: Summary, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        laws = check(record, replace(ledgers, notifications={}), catalog)
        lines = shown(summary, laws)
        assert "✓ no cent is lost                        $6.50 captured" in "\n".join(lines)
        at = lines.index("✗ one notification per order             0 notifications = 4 orders")
        assert lines[at + 1] == "    order sold got 0 notifications"

    def test_a_narrow_terminal_gets_the_compared_figures_on_separate_lines(
        self, summary: Summary
    ) -> None:
        compared = "13,963 pieces of 6,062 products = 2,077 on hand + 0 reserved + 11,886 sold"
        laws = [Law("no piece is lost", compared, ()), Law("every order ends once", "1 = 1", ())]
        assert shown(summary, laws, width=80)[-4:] == [
            "✓ no piece is lost",
            f"    {compared}",
            "✓ every order ends once",
            "    1 = 1",
        ]
        assert shown(summary, laws, width=60)[-5:-2] == [
            "✓ no piece is lost",
            "    13,963 pieces of 6,062 products = 2,077 on hand + 0",
            "    reserved + 11,886 sold",
        ]

    def test_shows_only_the_first_of_many_cases(self, summary: Summary) -> None:
        many = tuple(f"case {number}" for number in range(1200))
        lines = shown(summary, [Law("law", "1 = 2", many)])
        assert lines[-6:] == [*(f"    case {number}" for number in range(5)), "    and 1,195 more"]

    def test_escapes_markup_in_the_words_of_a_service(self, summary: Summary) -> None:
        lines = shown(summary, [Law("law", "1 [red]", ("[/bold] x",))])
        assert lines[-2:] == ["✗ law  1 [red]", "    [/bold] x"]


class TestJson:
    def test_has_figures_laws_and_options(
        self, summary: Summary, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        laws = check(record, ledgers, catalog)
        content = json.loads(json.dumps(as_json(summary, laws, {"baskets": 4})))
        assert content["options"] == {"baskets": 4}
        assert content["summary"]["timing"] == {"ready": 4.0, "placing": 2.0, "ending": 2.5}
        assert content["summary"]["memory"]["gateway"] == {"pss": 61 * MIB, "rss": 80 * MIB}
        assert [law["name"] for law in content["laws"]] == [law.name for law in laws]
        assert content["all_laws_hold"] is True

    def test_says_when_a_law_is_broken(self, summary: Summary) -> None:
        content = as_json(summary, [Law("law", "1 = 2", ("case",))], {})
        assert content["all_laws_hold"] is False
        assert content["laws"] == [
            {"name": "law", "compared": "1 = 2", "broken": ("case",), "holds": False}
        ]


class TestEventCounts:
    def test_are_summed_over_replicas_by_type(self) -> None:
        page = (
            "# TYPE events_handled_total counter\n"
            'events_handled_total{type="a.B"} 3.0\n'
            'events_handled_total{type="a.C"} 1.0\n'
            "# TYPE events_seen_again_total counter\n"
            'events_seen_again_total{type="a.B"} 2.0\n'
            "# TYPE events_failed_total counter\n"
            'events_failed_total{type="a.C"} 4.0\n'
            "# TYPE other_total counter\n"
            "other_total 9.0\n"
        )
        assert count_events(iter([page, page, ""])) == {
            "a.B": EventCount(handled=6, seen_again=4),
            "a.C": EventCount(handled=2, failed=8),
        }
