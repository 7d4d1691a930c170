"""Any numbered message is handled or becomes a dead letter, and other events continue."""

import json
from collections.abc import Callable

from bookshop import journal
from fake_producer import FakeProducer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reading import has_taken, remove
from relaying import StreamView, in_order
from shop_and_books import dead, running_books
from sqlalchemy import insert

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.wire import event_headers
from localservers import NatsServer

Garbage = tuple[dict[str, str | None], bytes | None]
"""Headers instead of the right ones, None for one that is missing; data, None for the right."""

HEADERS = [
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-subject",
    "ce-time",
    "ce-datacontenttype",
    "ce-dataschema",
    "ce-partitionkey",
    "ce-correlationid",
    "ce-causationid",
    "ce-traceparent",
    "ce-anything",
    "Content-Type",
    "traceparent",
    "tracestate",
    "Status",
    event_headers.GENERATION,
    event_headers.RANK,
]
CONTENT_TYPES = ["application/json", "application/protobuf", "text/plain", "APPLICATION/JSON; x=y"]
STRUCTURED = [f"application/cloudevents{suffix}" for suffix in ("", "+json", "+xml")]
ODD = ["", "%", "%C3", "%00", "%ED%A0%80", '"', "1.0", "2.0", "²", "-1", "9" * 300, "é" * 40]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=300)
values = st.sampled_from([*CONTENT_TYPES, *STRUCTURED, *ODD]) | texts
headers = st.dictionaries(st.sampled_from(HEADERS), st.none() | values, max_size=4)
structured = st.sampled_from(STRUCTURED).map(lambda kind: {"Content-Type": kind})
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts
attributes = st.sampled_from(["specversion", "id", "type", "source", "data", "data_base64", "x"])
objects = st.dictionaries(
    attributes, plain | st.lists(plain, max_size=3) | st.just({"book_id": "b"}), max_size=7
)
data = st.none() | st.binary() | (plain | objects).map(lambda value: json.dumps(value).encode())
messages = st.tuples(headers | structured, data)


def garbage() -> list[Garbage]:
    """Return examples that hypothesis generates, the same in each run."""
    made: list[Garbage] = []

    @settings(
        max_examples=300,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages)
    def make(message: Garbage) -> None:
        made.append(message)

    make()
    return made


def counting() -> EventRouter:
    """Return a handler that records of each event what any database can store."""
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        known = event.id if event.id.isascii() and event.id.isprintable() else "another"
        row = {"event_id": known[:64], "book_id": str(event.partition_key)[:64].strip("\0")}
        tx.session.execute(insert(journal).values(row))

    return router


async def test_a_correctly_numbered_message_is_handled_or_becomes_a_dead_letter(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    sent: list[bytes] = []
    neighbors = []
    async with FakeProducer(nats.url) as producer:
        for number, (replaced, content) in enumerate(garbage()):
            book = BookSold(book_id=f"book-{number % 40}", customer_id="c")
            await producer.publish(book, headers=replaced, data=content)
            sent.append(book.SerializeToString() if content is None else content)
            if number % 5 == 0:
                neighbors.append(await producer.publish(book))
        async with running_books(nats, new_database("books"), counting()) as books:
            await books.settled(60)
            assert (await books.path.ledger()).stopped == ()
            handled = [entry.event_id for entry in await books.journal()]
            letters = await dead(books)
    ours = {context.id for context in neighbors}
    assert in_order([id for id in handled if id in ours], neighbors)
    assert len(handled) + len(letters) == len(sent) + len(neighbors)
    assert len(handled) > len(neighbors)
    assert len(letters) > 20
    for letter in letters:
        assert letter.reason.startswith("undecodable: ")
        assert letter.data in sent


async def test_a_message_without_a_generation_keeps_that_of_the_position(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """Earlier events that arrive again are dropped, and the numbers have not started over."""
    url = new_database("books")
    async with FakeProducer(nats.url) as producer:
        await producer.publish(BookSold(book_id="a"))
        await producer.publish(BookSold(book_id="a"), headers={event_headers.GENERATION: None})
        other = await producer.publish(BookSold(book_id="b"))
        async with running_books(nats, url, counting()) as books:
            await has_taken(books, 3)
        # The message of the last position is deleted, so that the reader begins at the oldest.
        await remove(StreamView(nats.url), other.id)
        await producer.publish(BookSold(book_id="b"))
        async with running_books(nats, url, counting()) as books:
            await has_taken(books, 4)
            await books.settled(60)
            assert (await books.path.ledger()).stopped == ()
