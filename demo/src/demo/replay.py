"""The replay, which places baskets through the gateway's REST API and records the answers."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from demo.data import Basket
from demo.pacing import Backlog, Concurrency, RateLimit
from demo.record import PlacedOrder, Record, Refusal
from devkit.errors import DevkitError

__all__ = ["ReplayStuck", "replay"]

ACCEPTED = 202
RETRIED = frozenset((429, 502, 503, 504))
"""Statuses after which the same request may succeed."""

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
_PENDING = "pending"


class ReplayStuck(DevkitError):
    """A basket was not accepted in time, although it was sent again and again."""


async def replay(
    url: str | Sequence[str],
    baskets: Iterable[Basket],
    in_flight: int = 32,
    on_progress: Callable[[Record], None] | None = None,
    *,
    patience: float = 60,
    answer_within: float = 15,
    run: str = "",
    per_second: float | None = None,
    ends_within: float | None = None,
) -> Record:
    """Place every basket exactly once, and return the record when all are placed.

    A basket is sent again, with the same Idempotency-Key, if the gateway answers that it is
    unavailable, if the connection breaks, and if there is no answer within `answer_within` seconds.

    The gateway answers before an order has ended. A machine that accepts orders faster than it ends
    them accumulates open orders, until they exceed the time after which they are cancelled. With
    `ends_within` the replay adapts to such a machine: it sends no basket while an order is pending
    for more than `ends_within` seconds, and has fewer requests in flight while the gateway is too
    busy to answer in time.

    Args:
        url: the gateway, or its replicas: a basket that fails at one is sent to the next.
        baskets: read one by one, when they are needed.
        in_flight: maximum number of concurrent requests; the next follows an answer.
        on_progress: called with the record after each basket.
        patience: longest time to try to place a basket, in seconds.
        answer_within: longest wait for an answer, in seconds.
        run: prefix of every Idempotency-Key; the rest is the basket's id. A platform returns the
            earlier order for a key that it has seen before.
        per_second: maximum number of baskets per second; None for no limit.
        ends_within: longest time in which an order may be pending before baskets are held back, in
            seconds; None to send baskets in any case.

    Raises:
        ReplayStuck: a basket could not be placed in time.
    """
    urls = [url] if isinstance(url, str) else list(url)
    record, on_progress = Record(), on_progress or _ignore_progress
    began = time.perf_counter()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(
        timeout=answer_within, limits=limits, trust_env=False, follow_redirects=False
    ) as client:
        backlog = Backlog(partial(_is_pending, client, urls), record, patience, on_progress)
        replaying = _Replay(
            client=client,
            urls=urls,
            key_prefix=run,
            patience=patience,
            record=record,
            on_progress=on_progress,
            rate_limit=RateLimit(per_second),
            concurrency=Concurrency(in_flight, adapts=ends_within is not None),
            backlog=backlog,
        )
        remaining = iter(baskets)
        shoppers = [
            asyncio.create_task(_Shopper(replaying, number).buy(remaining))
            for number in range(in_flight)
        ]
        watch = asyncio.create_task(backlog.watch(ends_within)) if ends_within else None
        try:
            await asyncio.gather(*shoppers)
        finally:
            tasks = [*shoppers, *([watch] if watch else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    record.seconds = time.perf_counter() - began
    return record


@dataclass(frozen=True, slots=True)
class _Replay:
    """The state that all shoppers of a replay share."""

    client: httpx.AsyncClient
    urls: Sequence[str]
    key_prefix: str
    patience: float
    record: Record
    on_progress: Callable[[Record], None]
    rate_limit: RateLimit
    concurrency: Concurrency
    backlog: Backlog


class _Shopper:
    """A client of the gateway that places one basket after the other."""

    def __init__(self, replay: _Replay, url_index: int) -> None:
        self._replay = replay
        self._url_index = url_index

    async def buy(self, baskets: Iterator[Basket]) -> None:
        """Place the baskets that no other shopper of the replay places."""
        replay = self._replay
        for basket in baskets:
            await replay.rate_limit.wait()
            await replay.backlog.wait()
            replay.record.sent += 1
            await self._place(basket)
            replay.on_progress(replay.record)

    async def _place(self, basket: Basket) -> None:
        """Send a basket until it is accepted or refused. Raise ReplayStuck after `patience`."""
        replay = self._replay
        deadline = time.monotonic() + replay.patience
        tries = 0
        while True:
            async with replay.concurrency.slot():
                failure, retry_after = await self._send(basket)
            replay.concurrency.adapt(failure)
            if failure is None:
                return
            tries += 1
            wait = min(_FIRST_WAIT_SECONDS * 2**tries, _LONGEST_WAIT_SECONDS)
            # Jitter, so that baskets that failed together are not sent again together.
            wait = max(wait, retry_after) * random.uniform(0.5, 1.5)
            if time.monotonic() + wait > deadline:
                raise ReplayStuck(
                    f"basket {basket.basket_id} was not accepted in {replay.patience:g} s, "
                    f"although it was sent {tries} times; the last answer was: {failure}. "
                    "See the logs of the gateway and of the services behind it."
                )
            replay.record.sent_again[failure] += 1
            self._url_index += 1
            await asyncio.sleep(wait)

    async def _send(self, basket: Basket) -> tuple[str | None, float]:
        """Send a basket once, and record a final answer.

        Return the failure after which it must be sent again, or None, and the shortest wait before
        that in seconds.
        """
        replay = self._replay
        url = replay.urls[self._url_index % len(replay.urls)]
        try:
            answer = await replay.client.post(
                f"{url}/orders",
                json=_request_body(basket),
                headers={"Idempotency-Key": replay.key_prefix + basket.basket_id},
            )
        except httpx.TransportError as error:
            return type(error).__name__, 0.0
        if answer.status_code == ACCEPTED:
            body = answer.json()
            total = body["total"]["amount"]
            replay.record.placed.append(PlacedOrder(body["order_id"], basket, total))
            replay.backlog.add(body["order_id"])
            return None, 0.0
        if answer.status_code in RETRIED:
            return str(answer.status_code), _parse_retry_after(
                answer.headers.get("retry-after", "")
            )
        replay.record.refused.append(Refusal(basket, answer.status_code, answer.text[:500]))
        return None, 0.0


async def _is_pending(client: httpx.AsyncClient, urls: Sequence[str], order_id: str) -> bool:
    """Return whether an order is pending; True if no gateway answers, or is too busy to."""
    for url in urls:
        try:
            answer = await client.get(f"{url}/orders/{order_id}")
        except httpx.TransportError:
            continue
        if answer.status_code == httpx.codes.OK:
            return bool(answer.json()["status"] == _PENDING)
    return True


def _request_body(basket: Basket) -> dict[str, Any]:
    return {
        "customer_id": basket.customer_id,
        "lines": [{"sku": line.sku, "quantity": line.quantity} for line in basket.lines],
    }


def _parse_retry_after(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_WAIT_SECONDS) if retry_after.isdecimal() else 0.0


def _ignore_progress(record: Record) -> None:
    pass
