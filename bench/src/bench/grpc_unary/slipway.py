"""A service of this platform, with a `def` method as the sample services have it."""

from bench.grpc_unary.product import product
from chassis import Service, ServiceSettings, run
from shop.inventory.v1 import (
    GetProductRequest,
    GetProductResponse,
    GetStockLedgerRequest,
    GetStockLedgerResponse,
    InventoryService,
    ListProductsRequest,
    ListProductsResponse,
    LoadProductsRequest,
    LoadProductsResponse,
    QuoteProductsRequest,
    QuoteProductsResponse,
)


class Inventory:
    """The contract's methods, of which the benchmark calls one."""

    def get_product(self, request: GetProductRequest) -> GetProductResponse:
        return product(request.sku)

    def load_products(self, request: LoadProductsRequest) -> LoadProductsResponse:
        raise NotImplementedError

    def list_products(self, request: ListProductsRequest) -> ListProductsResponse:
        raise NotImplementedError

    def quote_products(self, request: QuoteProductsRequest) -> QuoteProductsResponse:
        raise NotImplementedError

    def get_stock_ledger(self, request: GetStockLedgerRequest) -> GetStockLedgerResponse:
        raise NotImplementedError


service = Service("inventory", settings=ServiceSettings, grpc=[(InventoryService, Inventory)])

if __name__ == "__main__":
    run(service)
