"""The rules of orders."""

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.domain import (
    MAX_LINES,
    MAX_QUANTITY,
    Action,
    Draft,
    Invalid,
    Line,
    Reason,
    Status,
    Trigger,
    make_draft,
    overdue_before,
    transition,
)

pytestmark = pytest.mark.unit

MILK = Line("milk", 2, 199)


def draft_of(
    *lines: Line,
    order_id: str = "o-1",
    customer_id: str = "c-1",
    key: str = "",
    currency: str = "USD",
) -> Draft:
    return make_draft(order_id, customer_id, key, lines or (MILK,), currency)


def test_the_total_is_the_sum_over_the_lines() -> None:
    assert draft_of(MILK, Line("bread", 3, 250)).total == 2 * 199 + 3 * 250


def test_lines_of_one_product_are_merged_into_the_first_of_them() -> None:
    placed = draft_of(Line("milk", 2, 199), Line("bread", 1, 250), Line("milk", 1, 199))
    assert placed.lines == (Line("milk", 3, 199), Line("bread", 1, 250))


def test_one_product_at_two_prices_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        draft_of(Line("milk", 2, 199), Line("milk", 1, 198))
    assert refused.value.field == "lines.1.price"


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([Line("milk", 0, 199)], "lines.0.quantity"),
        ([MILK, Line("bread", -1, 199)], "lines.1.quantity"),
        ([Line("milk", MAX_QUANTITY + 1, 1)], "lines.0.quantity"),
        ([Line("milk", MAX_QUANTITY, 1), Line("milk", 1, 1)], "lines.1.quantity"),
        ([Line("", 1, 199)], "lines.0.sku"),
        ([Line("mi\x00lk", 1, 199)], "lines.0.sku"),
        ([Line("milk\n", 1, 199)], "lines.0.sku"),
        ([Line("m" * 65, 1, 199)], "lines.0.sku"),
        ([Line("milk", 1, -1)], "lines.0.price.amount"),
        ([Line("milk", 1, 2**62)], "lines.0.price.amount"),
        ([], "lines"),
        ([Line(f"sku-{n}", 1, 1) for n in range(MAX_LINES + 1)], "lines"),
    ],
)
def test_lines_that_cannot_be_ordered_are_named(lines: list[Line], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        make_draft("o-1", "c-1", "", lines, "USD")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"order_id": ""}, "order_id"),
        ({"order_id": "o 1"}, "order_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "ü"}, "customer_id"),
        ({"key": "a b"}, "Idempotency-Key"),
        ({"key": "k" * 256}, "Idempotency-Key"),
        ({"currency": ""}, "lines.0.price.currency"),
        ({"currency": "usd"}, "lines.0.price.currency"),
    ],
)
def test_a_malformed_part_of_an_order_is_named(changed: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        draft_of(**changed)
    assert refused.value.field == field


def test_an_empty_idempotency_key_is_none() -> None:
    assert draft_of(key="").idempotency_key is None
    assert draft_of(key="k-1").idempotency_key == "k-1"


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1, max_size=6).flatmap(
        lambda quantities: st.tuples(
            st.just(quantities), st.permutations([*quantities.items()]), st.integers(0, 500)
        )
    )
)
def test_a_request_sent_again_in_another_order_and_at_other_prices_is_the_same(
    case: tuple[dict[str, int], list[tuple[str, int]], int],
) -> None:
    quantities, shuffled, price = case
    first = draft_of(*(Line(sku, quantity, 100) for sku, quantity in quantities.items()))
    again = draft_of(*(Line(sku, quantity, price) for sku, quantity in shuffled), order_id="o-2")
    assert again.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        draft_of(Line("milk", 3, 199)),
        draft_of(Line("bread", 2, 199)),
        draft_of(MILK, Line("bread", 1, 1)),
        draft_of(customer_id="c-2"),
    ],
)
def test_a_request_for_something_else_has_another_fingerprint(other: Draft) -> None:
    assert other.fingerprint != draft_of().fingerprint


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger.STOCK_RESERVED, (Action.NOTHING, None)),
        (Trigger.STOCK_REJECTED, (Action.CANCEL, Reason.OUT_OF_STOCK)),
        (Trigger.PAYMENT_AUTHORIZED, (Action.CONFIRM, None)),
        (Trigger.PAYMENT_DECLINED, (Action.CANCEL, Reason.PAYMENT_DECLINED)),
        (Trigger.PAYMENT_REFUNDED, (Action.NOTHING, None)),
        (Trigger.TIME_IS_UP, (Action.CANCEL, Reason.TIMED_OUT)),
    ],
)
def test_a_pending_order_follows_its_trigger(
    trigger: Trigger, expected: tuple[Action, Reason | None]
) -> None:
    assert transition(Status.PENDING, trigger) == expected


@pytest.mark.parametrize(
    ("status", "trigger"), list(product([Status.CONFIRMED, Status.CANCELLED], Trigger))
)
def test_an_ended_order_never_ends_again(status: Status, trigger: Trigger) -> None:
    assert transition(status, trigger)[0] in (Action.NOTHING, Action.REFUND)


@pytest.mark.parametrize(("status", "trigger"), list(product(Status, Trigger)))
def test_only_a_payment_for_a_cancelled_order_is_refunded(status: Status, trigger: Trigger) -> None:
    late = status is Status.CANCELLED and trigger is Trigger.PAYMENT_AUTHORIZED
    assert (transition(status, trigger)[0] is Action.REFUND) == late


def test_an_order_is_overdue_once_the_timeout_has_passed() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert overdue_before(noon, 90) == datetime(2026, 1, 1, 11, 58, 30, tzinfo=UTC)
