"""The RPCs of InventoryService."""

from chassis import InvalidArgument, NotFound, ReadTransaction, Transaction
from chassis.paging import page_size
from inventory import domain, tables
from inventory.domain import Invalid, Product
from inventory.mapping import ledger_entry, product_message, product_of
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
)

__all__ = ["Inventory"]

_MAX_PRODUCTS = 1000


class Inventory:
    """The implementation of InventoryService."""

    def load_products(self, request: LoadProductsRequest, tx: Transaction) -> LoadProductsResponse:
        _check_batch_size(len(request.products), "products")
        loaded: dict[str, Product] = {}
        for position, message in enumerate(request.products):
            try:
                product = product_of(message)
                domain.check_product(product)
            except Invalid as error:
                field = f"products.{position}.{error.field}"
                raise InvalidArgument(f"{field} {error}", field=field) from error
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
        limit = page_size(request.limit, default=20, largest=100)
        found = tables.list_products(tx.session, _valid_cursor(request.cursor), limit + 1)
        return ListProductsResponse(
            products=[product_message(product) for product in found[:limit]],
            next_cursor=found[limit - 1].sku if len(found) > limit else "",
        )

    def quote_products(
        self, request: QuoteProductsRequest, tx: ReadTransaction
    ) -> QuoteProductsResponse:
        _check_batch_size(len(request.skus), "skus")
        wellformed = [sku for sku in set(request.skus) if domain.is_identifier(sku)]
        found = tables.find_products(tx.session, wellformed)
        return QuoteProductsResponse(products=[product_message(product) for product in found])

    def get_stock_ledger(
        self, request: GetStockLedgerRequest, tx: ReadTransaction
    ) -> GetStockLedgerResponse:
        limit = page_size(request.limit, default=1000, largest=1000)
        found = tables.list_ledger(tx.session, _valid_cursor(request.cursor), limit + 1)
        return GetStockLedgerResponse(
            entries=[ledger_entry(row) for row in found[:limit]],
            next_cursor=found[limit - 1].sku if len(found) > limit else "",
        )


def _check_batch_size(count: int, field: str) -> None:
    if count > _MAX_PRODUCTS:
        raise InvalidArgument(
            f"{field} must contain at most {_MAX_PRODUCTS} items; make several calls", field=field
        )


def _valid_cursor(cursor: str) -> str:
    if cursor and not domain.is_identifier(cursor):
        raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
    return cursor
