"""The selection of baskets, and the catalog of their products."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.catalog import Catalog, dollars, from_sample, from_whole_set
from demo.data import Basket, Line, Product, full
from demo.data.wheel import WheelUnavailable
from devkit.errors import DevkitError

pytestmark = pytest.mark.unit


class TestSample:
    def test_has_the_selected_number_of_baskets_each_time_it_is_read(self) -> None:
        selection = from_sample(30)
        assert selection.count == 30
        assert len(list(selection.baskets())) == len(list(selection.baskets())) == 30

    def test_has_exactly_the_products_of_its_baskets(self) -> None:
        selection = from_sample(30)
        skus = {line.sku for basket in selection.baskets() for line in basket.lines}
        assert selection.catalog.products.keys() == selection.catalog.stock.keys() == skus

    def test_names_the_number_of_baskets_if_it_is_too_low(self) -> None:
        with pytest.raises(DevkitError, match=r"5,000 baskets, not 6,000.*--data full"):
            from_sample(6000)


class TestWholeSet:
    @pytest.fixture(autouse=True)
    def two_baskets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def baskets(cache: Path, limit: int | None = None) -> Iterator[Basket]:
            yield from [Basket(str(n), "7", (Line("a", 1),)) for n in range(2)][:limit]

        products = {sku: Product(sku, sku, "Grocery", 100) for sku in ("a", "b")}
        monkeypatch.setattr(full, "products", lambda cache: products)
        monkeypatch.setattr(full, "baskets", baskets)

    def test_is_selected_whole_or_in_part(self, tmp_path: Path) -> None:
        assert from_whole_set(None, tmp_path).count == 2
        selection = from_whole_set(1, tmp_path)
        assert [basket.basket_id for basket in selection.baskets()] == ["0"]
        assert selection.catalog.stock == {"a": 1}

    def test_names_the_number_of_baskets_if_it_is_too_low(self, tmp_path: Path) -> None:
        with pytest.raises(DevkitError, match="2 baskets, not 3"):
            from_whole_set(3, tmp_path)

    @pytest.mark.parametrize("missing", [full.DuckdbMissing, WheelUnavailable])
    def test_a_missing_part_is_an_error_for_the_developer(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: type[Exception]
    ) -> None:
        def fail(cache: Path) -> None:
            raise missing("install it")

        monkeypatch.setattr(full, "products", fail)
        with pytest.raises(DevkitError, match="install it"):
            from_whole_set(1, tmp_path)


def test_a_basket_costs_what_its_lines_cost(catalog: Catalog) -> None:
    assert catalog.total(Basket("1", "7", (Line("apples", 3), Line("bread", 2)))) == 800


def test_money_is_formatted_in_dollars() -> None:
    assert [dollars(cents) for cents in (0, 5, 123456, -250)] == [
        "$0.00",
        "$0.05",
        "$1,234.56",
        "-$2.50",
    ]
