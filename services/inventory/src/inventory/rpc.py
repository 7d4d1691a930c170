"""InventoryService: what others ask of inventory."""

from chassis import InvalidArgument, NotFound, ReadTransaction, Transaction
from inventory import domain, tables
from inventory.domain import Invalid, Product
from inventory.mapping import product_message, product_of
from shop.inventory.v1 import (
    GetProductRequest,
    GetProductResponse,
    GetStockLedgerRequest,
    GetStockLedgerResponse,
    ListProductsRequest,
    ListProductsResponse,
    LoadProductsRequest,
    LoadProductsResponse,
    QuoteProductsRequest,
    QuoteProductsResponse,
    StockEntry,
)

__all__ = ["Inventory"]

_MOST_AT_ONCE = 1000


class Inventory:
    """The service, method by method."""

    def load_products(self, request: LoadProductsRequest, tx: Transaction) -> LoadProductsResponse:
        _check_count(len(request.products), "products")
        loaded: dict[str, Product] = {}
        for position, message in enumerate(request.products):
            try:
                product = domain.checked(product_of(message))
            except Invalid as wrong:
                field = f"products.{position}.{wrong.field}"
                raise InvalidArgument(f"{field} {wrong}", field=field) from wrong
            loaded[product.sku] = product
        return LoadProductsResponse(loaded=tables.load_products(tx.session, [*loaded.values()]))

    def get_product(self, request: GetProductRequest, tx: ReadTransaction) -> GetProductResponse:
        found = []
        if domain.is_identifier(request.sku):
            found = tables.find_products(tx.session, [request.sku])
        if not found:
            raise NotFound(f"there is no product {request.sku[:64]!r}")
        return GetProductResponse(product=product_message(found[0]))

    def list_products(
        self, request: ListProductsRequest, tx: ReadTransaction
    ) -> ListProductsResponse:
        limit = _limit(request.limit, default=20, most=100)
        found = tables.list_products(tx.session, _after(request.cursor), limit + 1)
        return ListProductsResponse(
            products=[product_message(product) for product in found[:limit]],
            next_cursor=found[limit - 1].sku if len(found) > limit else "",
        )

    def quote_products(
        self, request: QuoteProductsRequest, tx: ReadTransaction
    ) -> QuoteProductsResponse:
        _check_count(len(request.skus), "skus")
        known = [sku for sku in set(request.skus) if domain.is_identifier(sku)]
        found = tables.find_products(tx.session, known)
        return QuoteProductsResponse(products=[product_message(product) for product in found])

    def get_stock_ledger(
        self, request: GetStockLedgerRequest, tx: ReadTransaction
    ) -> GetStockLedgerResponse:
        limit = _limit(request.limit, default=1000, most=1000)
        found = tables.ledger(tx.session, _after(request.cursor), limit + 1)
        return GetStockLedgerResponse(
            entries=[
                StockEntry(sku=row.sku, on_hand=row.on_hand, reserved=row.reserved, sold=row.sold)
                for row in found[:limit]
            ],
            next_cursor=found[limit - 1].sku if len(found) > limit else "",
        )


def _check_count(count: int, field: str) -> None:
    if count > _MOST_AT_ONCE:
        raise InvalidArgument(
            f"{field} must be at most {_MOST_AT_ONCE}; send several calls", field=field
        )


def _limit(asked: int, *, default: int, most: int) -> int:
    if not 0 <= asked <= most:
        raise InvalidArgument(f"limit must be 1 to {most}", field="limit")
    return asked or default


def _after(cursor: str) -> str:
    if cursor and not domain.is_identifier(cursor):
        raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
    return cursor
