"""Places baskets as orders by the gateway's REST API, and writes down what was answered."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo.data import Basket
from devkit.errors import DevkitError

__all__ = ["PlacedOrder", "Record", "Refusal", "ReplayStuck", "replay"]

ACCEPTED = 202
PASSING = frozenset((429, 502, 503, 504))
"""Answers after which the same request may succeed."""
_TOO_BUSY = frozenset(("429", "503", "504", "ReadTimeout"))

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_PENDING = "pending"


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """A basket that was answered with 202."""

    order_id: str
    basket: Basket
    total: int
    """As it was answered, in cents."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A basket that was answered with something that sending it again would not change."""

    basket: Basket
    status: int
    detail: str


@dataclass(slots=True)
class Record:
    """What the replay itself knows: what it asked for, and what it was answered."""

    asked: int = 0
    """Baskets sent, each counted once."""
    placed: list[PlacedOrder] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    sent_again: Counter[str] = field(default_factory=Counter)
    """How often a basket was sent again, by why: a status, or the kind of lost connection."""
    seconds: float = 0.0
    """From the first request to the last answer."""
    held_seconds: float = 0.0
    """How long no basket was sent because orders took too long to end."""
    held: bool = False
    """Whether that is so now."""


class ReplayStuck(DevkitError):
    """A basket was not taken, however often it was sent."""


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
    """Place every basket exactly once, `in_flight` of them at a time; returns when all are placed.

    A basket is sent again, under the same Idempotency-Key, when the gateway says 503 or the like,
    when the connection breaks, and when there is no answer within `answer_within` seconds.

    An order is answered before it has ended. A machine that answers faster than it ends orders
    gathers ever more of them, until each waits for longer than the time after which it is
    cancelled. With `ends_within` the replay adapts to such a machine: it sends no basket while an
    order is pending for more than `ends_within` seconds, and fewer at once while the gateway is
    too busy to answer in time.

    Args:
        url: the gateway, or its replicas: who is not answered by one asks the next.
        baskets: taken one by one, as they are needed.
        in_flight: requests at the same moment; the next follows an answer (a closed loop).
        on_progress: called after each basket with the record so far.
        patience: longest time to try with one basket, in seconds.
        answer_within: longest wait for one answer, in seconds.
        run: begins every Idempotency-Key, which is the basket's id without it: a platform answers
            a key that it knows with the order of that time.
        per_second: maximum number of baskets a second over all shoppers; None for no limit.
        ends_within: longest time for an order to end before others are placed, in seconds; None
            to place on, whatever becomes of those that were placed.

    Raises:
        ReplayStuck: a basket could not be placed in time.
    """
    urls = [url] if isinstance(url, str) else list(url)
    record = Record()
    began = time.perf_counter()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(
        timeout=answer_within, limits=limits, trust_env=False, follow_redirects=False
    ) as client:
        rest = iter(baskets)
        pace = _Pace(per_second)
        told = on_progress or _ignore
        backlog = _Backlog(client, urls, record, patience, told)
        crowd = _Crowd(in_flight, adapts=ends_within is not None)
        shoppers = [
            asyncio.create_task(
                _Shopper(client, urls, at, record, patience, run, pace, backlog, crowd).buy(
                    rest, told
                )
            )
            for at in range(in_flight)
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


class _Shopper:
    """One of those in flight: places one basket after the other."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        urls: Sequence[str],
        at: int,
        record: Record,
        patience: float,
        run: str,
        pace: "_Pace",
        backlog: "_Backlog",
        crowd: "_Crowd",
    ) -> None:
        self._client = client
        self._urls = urls
        self._at = at
        self._record = record
        self._patience = patience
        self._run = run
        self._pace = pace
        self._backlog = backlog
        self._crowd = crowd

    async def buy(self, rest: Iterator[Basket], on_progress: Callable[[Record], None]) -> None:
        for basket in rest:
            await self._pace.turn()
            await self._backlog.is_short()
            self._record.asked += 1
            await self._place(basket)
            on_progress(self._record)

    async def _place(self, basket: Basket) -> None:
        deadline = time.monotonic() + self._patience
        tries = 0
        while True:
            async with self._crowd.one():
                why, retry_after = await self._try(basket)
            self._crowd.answered(why)
            if why is None:
                return
            tries += 1
            wait = min(_FIRST_WAIT_SECONDS * 2**tries, _LONGEST_WAIT_SECONDS)
            # Jitter, or all that were refused together would come back together.
            wait = max(wait, retry_after) * random.uniform(0.5, 1.5)
            if time.monotonic() + wait > deadline:
                raise ReplayStuck(
                    f"basket {basket.basket_id} was not taken in {self._patience:g} s, "
                    f"though it was sent {tries} times; the last answer was: {why}. "
                    "The logs of the gateway and of the services behind it say why."
                )
            self._record.sent_again[why] += 1
            self._at += 1
            await asyncio.sleep(wait)

    async def _try(self, basket: Basket) -> tuple[str | None, float]:
        """Why it has to be sent again, None if it has not; and how long to wait at least."""
        url = self._urls[self._at % len(self._urls)]
        try:
            answer = await self._client.post(
                f"{url}/orders",
                json=_order(basket),
                headers={"Idempotency-Key": self._run + basket.basket_id},
            )
        except httpx.TransportError as error:
            return type(error).__name__, 0.0
        if answer.status_code == ACCEPTED:
            body = answer.json()
            total = body["total"]["amount"]
            self._record.placed.append(PlacedOrder(body["order_id"], basket, total))
            self._backlog.placed(body["order_id"])
            return None, 0.0
        if answer.status_code in PASSING:
            return str(answer.status_code), _seconds(answer.headers.get("retry-after", ""))
        self._record.refused.append(Refusal(basket, answer.status_code, answer.text[:500]))
        return None, 0.0


class _Pace:
    """Whose turn it is, and when."""

    def __init__(self, per_second: float | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        if self._gap:
            now = time.monotonic()
            at = max(self._next, now)
            self._next = at + self._gap
            await asyncio.sleep(at - now)


class _Crowd:
    """How many are in flight: half as many after an answer that the gateway is too busy, at most
    once a second, and one more after as many answers as there are in flight (as TCP does)."""

    def __init__(self, most: int, *, adapts: bool) -> None:
        self._most = most
        self._adapts = adapts
        self._limit = float(most)
        self._inside = 0
        self._cut_at = 0.0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._inside < int(self._limit))
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            async with self._changed:
                self._changed.notify_all()

    def answered(self, why: str | None) -> None:
        """`why` the basket has to be sent again, None if it has not."""
        if not self._adapts:
            return
        now = time.monotonic()
        if why is None:
            self._limit = min(self._most, self._limit + 1 / self._limit)
        elif why in _TOO_BUSY and now - self._cut_at > 1:
            self._limit = max(1.0, self._limit / 2)
            self._cut_at = now


class _Backlog:
    """Holds the shoppers back while an order that was placed long enough ago is pending."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        urls: Sequence[str],
        record: Record,
        patience: float,
        on_progress: Callable[[Record], None],
    ) -> None:
        self._client = client
        self._urls = urls
        self._record = record
        self._patience = patience
        self._on_progress = on_progress
        self._placed: deque[tuple[float, str]] = deque()
        self._short = asyncio.Event()
        self._short.set()

    def placed(self, order_id: str) -> None:
        self._placed.append((time.monotonic(), order_id))

    async def is_short(self) -> None:
        await self._short.wait()

    async def watch(self, ends_within: float) -> None:
        """Ask for one order a look, the newest that should have ended: before it are older ones."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            order_id = ""
            while self._placed and time.monotonic() - self._placed[0][0] > ends_within:
                _, order_id = self._placed.popleft()
            if order_id and await self._is_pending(order_id):
                await self._hold(order_id)

    async def _hold(self, order_id: str) -> None:
        """Until it has ended. An order always ends; who doubts it for too long places on, and is
        told by the laws."""
        began = time.monotonic()
        held_before = self._record.held_seconds
        self._record.held = True
        self._short.clear()
        try:
            while await self._is_pending(order_id) and time.monotonic() - began < self._patience:
                self._on_progress(self._record)
                await asyncio.sleep(_LOOK_SECONDS)
                self._record.held_seconds = held_before + time.monotonic() - began
        finally:
            self._record.held = False
            self._short.set()

    async def _is_pending(self, order_id: str) -> bool:
        """Also if nobody answers, or is too busy to say."""
        for url in self._urls:
            try:
                answer = await self._client.get(f"{url}/orders/{order_id}")
            except httpx.TransportError:
                continue
            if answer.status_code == httpx.codes.OK:
                return bool(answer.json()["status"] == _PENDING)
        return True


def _order(basket: Basket) -> dict[str, Any]:
    return {
        "customer_id": basket.customer_id,
        "lines": [{"sku": line.sku, "quantity": line.quantity} for line in basket.lines],
    }


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_WAIT_SECONDS) if retry_after.isdecimal() else 0.0


def _ignore(record: Record) -> None:
    pass
