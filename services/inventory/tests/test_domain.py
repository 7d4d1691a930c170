"""The rules of inventory."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.domain import Invalid, Product, check_product, find_shortages, sum_quantities

pytestmark = pytest.mark.unit

MILK = Product("milk", "Milk, 1 gallon", "GROCERY", 199, "USD", 10)

quantities = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5), min_size=1)


def test_quantities_are_summed_and_sorted() -> None:
    lines = [("milk", 2), ("bread", 1), ("milk", 3)]
    assert list(sum_quantities(lines).items()) == [("bread", 1), ("milk", 5)]


@pytest.mark.parametrize(
    "lines", [[], [("milk", 0)], [("milk", 2), ("bread", -1)], [("", 1)], [("a\x00", 1)]]
)
def test_invalid_lines_are_refused(lines: list[tuple[str, int]]) -> None:
    with pytest.raises(Invalid):
        sum_quantities(lines)


@given(quantities, quantities)
def test_a_product_is_short_exactly_if_its_stock_is_lower_than_the_quantity(
    ordered: dict[str, int], on_hand: dict[str, int]
) -> None:
    short = find_shortages(ordered, on_hand)
    assert set(short) == {sku for sku in ordered if on_hand.get(sku, 0) - ordered[sku] < 0}


def test_the_last_piece_can_be_reserved() -> None:
    assert find_shortages({"milk": 3}, {"milk": 3}) == []
    assert find_shortages({"milk": 3}, {"milk": 2}) == ["milk"]


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
        check_product(product)
    assert refused.value.field == field


def test_a_product_can_be_free_and_sold_out() -> None:
    check_product(replace(MILK, price=0, stock=0))
