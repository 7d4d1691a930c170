"""Statements of orders that refuse a row which another transaction has changed."""

from datetime import UTC, datetime

import pytest

from chassis.testing import HandlerHarness
from orders import tables
from orders.domain import Draft, Line, Reason, Status
from orders.tables import Change, Ending, HistoryEntry, Order, StaleOrder

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DRAFT = Draft("o-1", "c-1", None, (Line("milk", 1, 199),), "USD")
ENDING = Ending(Status.CANCELLED, Reason.TIMED_OUT, NOW)
LAST = HistoryEntry("{}", terminal=True)


def added(harness: HandlerHarness) -> Order:
    order = harness.transact(lambda tx: tables.add_order(tx.session, DRAFT, NOW))
    assert order is not None
    harness.transact(lambda tx: tables.start_history(tx.session, "o-1", "{}"))
    return order


def found(harness: HandlerHarness) -> Order:
    order = harness.transact(lambda tx: tables.find_order(tx.session, "o-1"))
    assert order is not None
    return order


def test_an_order_is_found_as_it_was_added(harness: HandlerHarness) -> None:
    assert added(harness) == found(harness)


def test_a_change_of_a_stale_order_is_refused(harness: HandlerHarness) -> None:
    order = added(harness)
    harness.transact(
        lambda tx: tables.apply_changes(tx.session, [Change(order, [HistoryEntry("{}")])])
    )
    with pytest.raises(StaleOrder):
        harness.transact(
            lambda tx: tables.apply_changes(tx.session, [Change(order, [HistoryEntry("{}")])])
        )
    assert found(harness).history_length == 2


def test_an_order_that_has_ended_does_not_end_again(harness: HandlerHarness) -> None:
    order = added(harness)
    harness.transact(lambda tx: tables.apply_changes(tx.session, [Change(order, [LAST], ENDING)]))
    ended, again = found(harness), Ending(Status.CONFIRMED, None, NOW)
    with pytest.raises(StaleOrder):
        harness.transact(
            lambda tx: tables.apply_changes(tx.session, [Change(ended, [LAST], again)])
        )
    assert found(harness).status is Status.CANCELLED
