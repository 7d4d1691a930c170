"""The client of the saga sends an order again until a shop accepts it."""

import asyncio
from collections.abc import Iterator

import httpx

from bench.saga.client import Shopper
from bench.worker import Work

_BODY = b'{"order_id": "1"}'
_UNAVAILABLE = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
_ORDER = {"order_id": "key", "customer_id": "1", "lines": [{"sku": "1", "quantity": 1}]}


async def test_an_order_is_sent_again_after_a_broken_connection_and_an_unavailable_shop() -> None:
    answers: Iterator[bytes] = iter((b"", _UNAVAILABLE, _ACCEPTED))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(30):
        shopper = Shopper(Work(variant="in flight", address=f"{host}:{port}"), http)
        shopper.end("1", confirmed=True)
        await shopper.buy_some([_ORDER])
    assert next(answers, None) is None
    assert len(shopper.confirmed) == 1
    assert shopper.unconfirmed == 0
