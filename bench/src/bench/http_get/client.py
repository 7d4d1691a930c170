"""The client of every server of the comparison: 32 connections that stay open."""

import asyncio
from collections import Counter

from bench.http_get.route import PATH
from bench.meter import Meter
from bench.worker import Check, Work, run

_AT_ONCE = 32
_LENGTH = b"content-length: "


async def call(work: Work, meter: Meter) -> Check:
    """Call the server `count` times."""
    host, port = work.address.split(":")
    request = f"GET {PATH} HTTP/1.1\r\nHost: {work.address}\r\n\r\n".encode()
    answers: Counter[str] = Counter()
    called = iter(range(work.count))

    async def some() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for done in called:
            if work.warm and done == work.warm:
                meter.mark(done)
            writer.write(request)
            answers[await _read_answer(reader)] += 1
        writer.close()

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    meter.mark(work.count)
    return {"answers": dict(answers)}


async def _read_answer(reader: asyncio.StreamReader) -> str:
    """Return the body of a response, or its head if it is not a success."""
    head = await reader.readuntil(b"\r\n\r\n")
    begin = head.lower().index(_LENGTH) + len(_LENGTH)
    body = await reader.readexactly(int(head[begin : head.index(b"\r", begin)]))
    return body.decode() if b" 200 " in head[:15] else head.decode()


if __name__ == "__main__":
    run(call)
