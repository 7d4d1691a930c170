"""The replay against a gateway that fails in every way a gateway can fail."""

import asyncio
import json
import socket
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

from demo.data import Basket, Line
from demo.record import Record
from demo.replay import ReplayStuck, replay

BUSY = "busy"
DROP_BEFORE = "drop before"
DROP_AFTER = "drop after"
CUT_SHORT = "cut short"
SILENT = "silent"
REFUSE = "refuse"


def baskets(count: int) -> Iterator[Basket]:
    for number in range(count):
        yield Basket(str(number), "customer", (Line("apples", number + 1), Line("bread", 2)))


class Gateway:
    """A fake of the gateway, which places an order per key, and fails if a test says so."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, object]] = {}
        self.requests: Counter[str] = Counter()
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.polls = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.hold: asyncio.Event | None = None
        self.status = "confirmed"
        self._silence = asyncio.Event()

    def fail(self, basket: str, *faults: str) -> None:
        """Fail in these ways, one per request, when this basket is sent."""
        self.faults[basket].extend(faults)

    async def received(self, count: int) -> None:
        """Return when this number of requests has arrived."""
        await until(lambda: self.requests.total() >= count)

    def hold_requests(self) -> None:
        """Answer the requests in flight, and hold those that follow."""
        held, self.hold = self.hold, asyncio.Event()
        if held is not None:
            held.set()

    def release_requests(self) -> None:
        """Answer all requests."""
        held, self.hold = self.hold, None
        assert held is not None
        held.set()

    @asynccontextmanager
    async def serve(self, bound: socket.socket | None = None) -> AsyncIterator[str]:
        bound = bound or socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(self._connected, sock=bound)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            self._silence.set()
            server.close()
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
                    if head.startswith("get "):
                        self.polls += 1
                        writer.write(response(200, {"status": self.status}))
                        continue
                    body = json.loads(await reader.readexactly(int(headers["content-length"])))
                    if not await self._answer(headers["idempotency-key"], body, writer):
                        return
        finally:
            writer.close()

    async def _answer(
        self, key: str, body: dict[str, object], writer: asyncio.StreamWriter
    ) -> bool:
        """Answer a request, and return whether the connection stays open."""
        self.requests[key] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        self.in_flight -= 1
        fault = self.faults[key].popleft() if self.faults[key] else None
        if fault == DROP_BEFORE:
            return False
        if fault == BUSY:
            writer.write(response(503, {"title": "Unavailable"}, "Retry-After: 0\r\n"))
            return True
        if fault == REFUSE:
            writer.write(response(422, {"title": "Invalid request"}))
            return True
        self.orders.setdefault(key, body)
        if fault == DROP_AFTER:
            return False
        if fault == SILENT:
            await self._silence.wait()
            return False
        answer = response(202, {"order_id": f"order-{key}", "total": {"amount": 7}})
        if fault == CUT_SHORT:
            writer.write(answer[:-5])
            return False
        writer.write(answer)
        return True


def response(status: int, body: dict[str, object], headers: str = "") -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


class TestPlacing:
    async def test_every_basket_is_sent_once_and_its_order_recorded(self, gateway: Gateway) -> None:
        async with gateway.serve() as url:
            record = await replay(url, baskets(20), in_flight=4)
        assert gateway.requests == {str(number): 1 for number in range(20)}
        assert {order.basket.basket_id: order.order_id for order in record.placed} == {
            str(number): f"order-{number}" for number in range(20)
        }
        assert {order.total for order in record.placed} == {7}
        assert gateway.orders["3"] == {
            "customer_id": "customer",
            "lines": [{"sku": "apples", "quantity": 4}, {"sku": "bread", "quantity": 2}],
        }
        assert (record.sent, record.refused, record.sent_again) == (20, [], {})
        assert record.seconds > 0

    async def test_the_number_of_requests_in_flight_is_the_limit(self, gateway: Gateway) -> None:
        gateway.hold_requests()
        async with gateway.serve() as url:
            running = asyncio.create_task(replay(url, baskets(20), in_flight=5))
            for count in (5, 10, 15, 20):
                await gateway.received(count)
                gateway.hold_requests()
            await running
        assert gateway.most_in_flight == 5

    async def test_baskets_are_read_only_when_they_are_needed(self, gateway: Gateway) -> None:
        read = 0

        def counted() -> Iterator[Basket]:
            nonlocal read
            for basket in baskets(20):
                read += 1
                yield basket

        gateway.hold_requests()
        async with gateway.serve() as url:
            running = asyncio.create_task(replay(url, counted(), in_flight=3))
            await until(lambda: gateway.in_flight == 3)
            assert read == 3
            gateway.release_requests()
            await running
        assert read == 20

    async def test_progress_is_reported_after_every_basket(self, gateway: Gateway) -> None:
        seen: list[int] = []
        async with gateway.serve() as url:
            await replay(url, baskets(5), 1, lambda record: seen.append(len(record.placed)))
        assert seen == [1, 2, 3, 4, 5]


class TestBacklog:
    async def test_no_basket_is_sent_while_an_order_does_not_end(self, gateway: Gateway) -> None:
        gateway.status = "pending"
        held = asyncio.Event()

        def on_progress(record: Record) -> None:
            if record.held:
                held.set()

        async with gateway.serve() as url:
            running = asyncio.create_task(
                replay(url, baskets(200), 1, on_progress, per_second=50, ends_within=0.1)
            )
            await asyncio.wait_for(held.wait(), 30)
            placed, polls = len(gateway.orders), gateway.polls
            await until(lambda: gateway.polls >= polls + 2)
            # Only the basket that was in flight is placed, although 50 could be sent per poll.
            assert len(gateway.orders) <= placed + 1 < 200
            gateway.status = "confirmed"
            record = await asyncio.wait_for(running, 60)
        assert_placed_once(record, gateway, 200)
        assert record.held_seconds > 0
        assert not record.held

    async def test_a_platform_that_ends_its_orders_is_not_waited_for(
        self, gateway: Gateway
    ) -> None:
        async with gateway.serve() as url:
            record = await replay(url, baskets(40), 4, per_second=20, ends_within=0.1)
        assert_placed_once(record, gateway, 40)
        assert record.held_seconds == 0

    async def test_fewer_requests_are_in_flight_after_the_gateway_was_too_busy(
        self, gateway: Gateway
    ) -> None:
        for number in range(16):
            gateway.fail(str(number), BUSY)
        gateway.hold_requests()
        async with gateway.serve() as url:
            running = asyncio.create_task(replay(url, baskets(40), 16, ends_within=60))
            await until(lambda: gateway.in_flight == 16)
            gateway.release_requests()
            await until(lambda: gateway.in_flight == 0)
            gateway.most_in_flight = 0
            record = await running
        assert_placed_once(record, gateway, 40)
        # The limit is 8 at first, and at most 12 after 40 successful requests.
        assert gateway.most_in_flight <= 12

    async def test_baskets_are_sent_again_after_waiting_too_long_for_an_order(
        self, gateway: Gateway
    ) -> None:
        gateway.status = "pending"
        async with gateway.serve() as url:
            record = await replay(url, baskets(40), 4, per_second=20, ends_within=0.1, patience=0.5)
        assert_placed_once(record, gateway, 40)
        assert record.held_seconds >= 0.5


class TestFailures:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (BUSY, "503"),
            (DROP_BEFORE, "RemoteProtocolError"),
            (DROP_AFTER, "RemoteProtocolError"),
            (CUT_SHORT, "RemoteProtocolError"),
        ],
    )
    async def test_a_basket_that_failed_is_sent_again_with_its_key_until_it_is_placed(
        self, gateway: Gateway, fault: str, reason: str
    ) -> None:
        gateway.fail("2", fault, fault)
        async with gateway.serve() as url:
            record = await replay(url, baskets(4), in_flight=2)
        assert gateway.requests == {"0": 1, "1": 1, "2": 3, "3": 1}
        assert_placed_once(record, gateway, 4)
        assert record.sent_again == {reason: 2}

    async def test_a_basket_without_an_answer_is_sent_again_with_its_key(
        self, gateway: Gateway
    ) -> None:
        gateway.fail("2", SILENT)
        async with gateway.serve() as url:
            record = await replay(url, baskets(4), in_flight=2, answer_within=0.5)
        assert_placed_once(record, gateway, 4)
        assert record.sent_again["ReadTimeout"] >= 1

    async def test_all_failures_at_once(self, gateway: Gateway) -> None:
        kinds = (BUSY, DROP_BEFORE, DROP_AFTER, CUT_SHORT)
        for number in range(24):
            gateway.fail(str(number), kinds[number % 4], kinds[number % 3])
        async with gateway.serve() as url:
            record = await replay(url, baskets(24), in_flight=24)
        assert_placed_once(record, gateway, 24)
        assert record.sent_again.total() == 48

    async def test_a_gateway_that_starts_later_is_waited_for(
        self, gateway: Gateway, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", "httpcore.connection")
        with closed_port() as (bound, url):
            running = asyncio.create_task(replay(url, baskets(3), in_flight=2))
            await until(lambda: caplog.text.count("connect_tcp.failed") >= 2)
            async with gateway.serve(bound):
                record = await running
        assert_placed_once(record, gateway, 3)
        assert record.sent_again["ConnectError"] >= 2

    async def test_a_basket_that_fails_at_one_replica_is_sent_to_another(
        self, gateway: Gateway
    ) -> None:
        with closed_port() as (_, dead):
            async with gateway.serve() as url:
                record = await replay([dead, url], baskets(6), in_flight=2)
        assert_placed_once(record, gateway, 6)
        assert record.sent_again == {"ConnectError": 1}

    async def test_a_refused_basket_is_recorded_and_not_sent_again(self, gateway: Gateway) -> None:
        gateway.fail("1", REFUSE)
        async with gateway.serve() as url:
            record = await replay(url, baskets(3), in_flight=1)
        assert gateway.requests["1"] == 1
        assert [order.basket.basket_id for order in record.placed] == ["0", "2"]
        (refusal,) = record.refused
        assert (refusal.basket.basket_id, refusal.status) == ("1", 422)
        assert "Invalid request" in refusal.detail
        assert record.sent == 3

    async def test_a_basket_that_is_never_accepted_ends_the_replay_with_its_last_answer(
        self, gateway: Gateway
    ) -> None:
        gateway.fail("1", *[BUSY] * 100)
        async with gateway.serve() as url:
            with pytest.raises(ReplayStuck, match=r"basket 1 was not accepted.*503"):
                await replay(url, baskets(3), in_flight=2, patience=0.3)


@contextmanager
def closed_port() -> Iterator[tuple[socket.socket, str]]:
    """Reserve a port that refuses connections, and yield its socket and URL."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition is true, after at most 30 s."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def assert_placed_once(record: Record, gateway: Gateway, count: int) -> None:
    """Assert that each basket has one order in the gateway, and one in the record."""
    keys = {str(number) for number in range(count)}
    assert gateway.orders.keys() == keys
    assert Counter(order.basket.basket_id for order in record.placed) == dict.fromkeys(keys, 1)
    assert record.sent == count
