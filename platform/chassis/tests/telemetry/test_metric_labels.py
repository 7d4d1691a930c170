"""Metric series stay bounded, whatever clients send."""

import grpc
import grpc.aio
import pytest
from books_rpc import Servers, raw_channel
from fastapi import APIRouter
from http_app import client_for, make_app

from bookstore.v1 import GetBookRequest, GetBookResponse, SellBookRequest, SellBookResponse

router = APIRouter()


@router.get("/books/{book_id}")
async def book(book_id: str) -> str:
    return book_id


class Shelf:
    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        return GetBookResponse()

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        return SellBookResponse()


async def series() -> set[str]:
    """Return every series of /metrics about requests: its lines without their values.

    Other parts of this process, such as connections that end late, may add series of their own.
    """
    async with client_for(make_app()) as http:
        text = (await http.get("/metrics")).text
    about = ("http_", "grpc_", "requests_")
    return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith(about)}


async def test_unknown_paths_and_methods_share_one_series_per_status() -> None:
    async with client_for(make_app(router)) as http:

        async def send_unknown_requests(round: str) -> None:
            for number in range(20):
                name = f"{round}{number}"
                for path in (f"/{name}", f"/books/{name}", f"/books/{name}/x", f"/metrics/{name}"):
                    for method in ("GET", f"X{name}".upper(), "PURGE"):
                        await http.request(method, path)

        await send_unknown_requests("first")
        before = await series()
        await send_unknown_requests("second")
        assert await series() == before
    assert not any("FIRST" in line or "first" in line or "PURGE" in line for line in before)
    assert any('method="other"' in line for line in before)


async def test_unknown_rpcs_add_no_series(rpc: Servers) -> None:
    server = await rpc.start(Shelf)
    before = await series()
    async with raw_channel(server.port) as channel:
        for path in ("/made.up.Service/Method", "/bookstore.v1.BooksService/MadeUp"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(path)(b"")  # type: ignore[arg-type]
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await series() == before
