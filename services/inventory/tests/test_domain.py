"""The rules of inventory."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.domain import Invalid, Product, checked, short_of, wanted

MILK = Product("milk", "Milk, 1 gallon", "GROCERY", 199, "USD", 10)

quantities = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5), min_size=1)


def test_what_is_wanted_is_added_up_and_sorted() -> None:
    lines = [("milk", 2), ("bread", 1), ("milk", 3)]
    assert list(wanted(lines).items()) == [("bread", 1), ("milk", 5)]


@pytest.mark.parametrize(
    "lines", [[], [("milk", 0)], [("milk", 2), ("bread", -1)], [("", 1)], [("a\x00", 1)]]
)
def test_what_cannot_be_wanted_is_refused(lines: list[tuple[str, int]]) -> None:
    with pytest.raises(Invalid):
        wanted(lines)


@given(quantities, quantities)
def test_an_order_is_short_of_exactly_what_there_is_less_of(
    asked: dict[str, int], on_hand: dict[str, int]
) -> None:
    short = short_of(asked, on_hand)
    assert set(short) == {sku for sku in asked if on_hand.get(sku, 0) - asked[sku] < 0}


def test_the_last_piece_can_be_reserved() -> None:
    assert short_of({"milk": 3}, {"milk": 3}) == []
    assert short_of({"milk": 3}, {"milk": 2}) == ["milk"]


@pytest.mark.parametrize(
    ("product", "field"),
    [
        (replace(MILK, sku=""), "sku"),
        (replace(MILK, sku="m/k"), "sku"),
        (replace(MILK, name=""), "name"),
        (replace(MILK, name="a\x00"), "name"),
        (replace(MILK, department="d" * 101), "department"),
        (replace(MILK, price=-1), "price.amount"),
        (replace(MILK, price=2**60), "price.amount"),
        (replace(MILK, currency="usd"), "price.currency"),
        (replace(MILK, stock=-1), "stock"),
    ],
)
def test_a_malformed_part_of_a_product_is_named(product: Product, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked(product)
    assert refused.value.field == field


def test_a_product_can_be_free_and_sold_out() -> None:
    assert checked(replace(MILK, price=0, stock=0)).stock == 0
