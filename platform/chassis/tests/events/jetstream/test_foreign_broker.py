"""A broker that others use: whatever keeps events from their stream is named until it ends."""

import json
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from bookshop import Node, accountant, eventually, sold
from relaying import TYPES
from structlog.testing import capture_logs

from chassis.events.jetstream.api import SUBJECTS_OVERLAP, JetStreamError
from chassis.events.jetstream.hindrance import Hindrance
from localservers import NatsServer

USERS = """
authorization {{ users: [{{user: us, password: us, permissions: {{
  publish: {{ allow: ">", deny: [{}] }}, subscribe: ">" }} }}] }}
no_auth_user: us
"""
ACCOUNTS = """
accounts { ours { users: [{user: us, password: us}] } }
no_auth_user: us
"""


async def api(nats: NatsServer, subject: str, body: object = None) -> Any:
    client = await nats_client.connect(nats.url)
    try:
        payload = json.dumps(body).encode() if body else b""
        answer = json.loads((await client.request(f"$JS.API.{subject}", payload)).data)
        assert "error" not in answer, answer
        return answer
    finally:
        await client.close()


async def says(node: Node, dependency: str, words: str) -> None:
    async def holds() -> bool:
        return words in node.path.states().get(dependency, "")

    await eventually(holds)


async def works(shop: Node, books: Node) -> None:
    """Wait until the published event is read and both nodes report no problem."""

    async def is_read() -> bool:
        return len(await books.journal()) == 1

    await eventually(is_read)
    for node in (shop, books):
        await reports_no_problem(node)


async def reports_no_problem(node: Node) -> None:
    async def holds() -> bool:
        return node.path.states() == {"broker": "ok"}

    await eventually(holds)


async def test_another_stream_that_has_the_subjects_is_named_until_it_is_deleted(
    nats: NatsServer, tmp_path: Path
) -> None:
    config = {"name": "legacy", "subjects": ["bookstore.>"]}
    await api(nats, "STREAM.CREATE.legacy", config)
    holder = "stream 'legacy' holds bookstore.v1.BookReturned.*, bookstore.v1.BookSold.*"
    with capture_logs() as log:
        async with (
            Node("bookstore", f"sqlite:///{tmp_path}/shop.db", nats.url, publishes=TYPES) as shop,
            Node("books", f"sqlite:///{tmp_path}/books.db", nats.url, router=accountant()) as books,
        ):
            await shop.publish(sold(1))
            await says(shop, "publishing", holder)
            await says(books, "reading", holder)
            await api(nats, "STREAM.DELETE.legacy")
            await works(shop, books)
    # Only some of the subjects may be named while the stream is being deleted.
    told = [line for line in log if line.get("work") == "publishing" and "reason" in line]
    assert sum(holder in line["reason"] for line in told) == 1
    assert (told[0]["stream"], told[0]["log_level"]) == ("bookstore", "error")
    assert told[0]["subjects"] == ["bookstore.v1.BookReturned.*", "bookstore.v1.BookSold.*"]
    assert holder in told[0]["reason"]


async def test_a_stream_that_was_deleted_meanwhile_is_not_named(nats: NatsServer) -> None:
    client = await nats_client.connect(nats.url)
    hindrance = Hindrance("publishing", "bookstore")
    overlap = JetStreamError(400, SUBJECTS_OVERLAP, "subjects overlap with an existing stream")
    try:
        await api(nats, "STREAM.CREATE.legacy", {"name": "legacy", "subjects": ["bookstore.>"]})
        with pytest.raises(JetStreamError):
            async with hindrance.seen(client, ["bookstore.v1.BookSold.*"]):
                raise overlap
        assert "stream 'legacy' holds" in str(hindrance.reason)

        await api(nats, "STREAM.DELETE.legacy")
        with pytest.raises(JetStreamError):
            async with hindrance.seen(client, ["bookstore.v1.BookSold.*"]):
                raise overlap
        assert hindrance.reason is None
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ACCOUNTS, "JetStream is off"),
        (USERS.format('"$JS.API.STREAM.CREATE.bookstore"'), "permissions violation"),
    ],
    ids=["not for our account", "no permission"],
)
async def test_a_broker_that_refuses_is_distinguished_from_an_unavailable_one(
    tmp_path: Path, config: str, words: str
) -> None:
    with NatsServer(tmp_path / "first", config=config) as nats:
        async with Node(
            "bookstore", f"sqlite:///{tmp_path}/shop.db", nats.url, publishes=TYPES
        ) as shop:
            await shop.publish(sold(1))
            await says(shop, "publishing", words)
            nats.stop()
            await says(shop, "broker", "unavailable")
            assert shop.path.states() == {"broker": "unavailable"}
            with NatsServer(tmp_path / "second", nats.port):
                await shop.settled()
                await reports_no_problem(shop)
