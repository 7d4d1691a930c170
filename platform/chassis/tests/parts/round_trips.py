"""Round trips of clients to PostgreSQL and NATS, counted on the wire.

The counts do not depend on timing. A pipeline of PostgreSQL is one round trip with any number of
statements; a batch of NATS messages is one, because its publisher waits for the end alone.
"""

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy import Proxy
from sqlalchemy import make_url

__all__ = ["ROWS", "BrokerRequests", "DatabaseTrips", "kind"]

ROWS = "rows"
"""The second round trip of a COPY, with which the client ends its rows."""

# Ends of the reply subjects of messages of a batch, and of the message that ends it.
_OF_BATCH, _END_OF_BATCH = ".$FI", ".3.$FI"
# Requests for TLS and for GSS encryption, which come before the start of a PostgreSQL session.
_BEFORE_START = {80877103, 80877104}


def kind(statement: str) -> str:
    """Return the verb and the first known table of a statement."""
    words = statement.replace("(", " ").replace('"', "").split()
    table = next((w for w in words if w.startswith(("slipway_", "journal"))), "")
    return f"{words[0]} {table.partition('.')[0]}".strip()


@dataclass
class DatabaseTrips:
    """The round trips of each transaction on a PostgreSQL server, with the statements they execute.

    Preparing a statement does not count, because it happens once per connection.
    """

    transactions: list[list[str]] = field(default_factory=list)

    @asynccontextmanager
    async def counted(self, url: str) -> AsyncIterator[str]:
        """Yield the URL of a database through a counting proxy; SQLite has no round trips."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            yield url
            return
        assert parsed.port
        async with Proxy(parsed.port, tap=self._connection) as proxy:
            plain = parsed.set(port=proxy.port).update_query_dict({"sslmode": "disable"})
            yield plain.render_as_string(hide_password=False)

    def _connection(self) -> Callable[[bytes], None]:
        buffer = bytearray()
        prepared: dict[bytes, str] = {}
        executed: list[str] = []
        transaction: list[str] = []
        started = False

        def tap(data: bytes) -> None:
            nonlocal started
            buffer.extend(data)
            while True:
                offset = 1 if started else 0
                if len(buffer) < offset + 4:
                    return
                (length,) = struct.unpack_from(">I", buffer, offset)
                if len(buffer) < offset + length:
                    return
                body = bytes(buffer[offset + 4 : offset + length])
                message = bytes(buffer[:offset])
                del buffer[: offset + length]
                if started:
                    take(message, body)
                else:
                    started = struct.unpack_from(">I", body)[0] not in _BEFORE_START

        def take(message: bytes, body: bytes) -> None:
            # The messages are Parse, Bind, Query, CopyDone and Sync.
            if message == b"P":
                name, statement = body.split(b"\0")[:2]
                prepared[name] = statement.decode()
            elif message == b"B":
                executed.append(kind(prepared[body.split(b"\0")[1]]))
            elif message == b"Q":
                executed.append(kind(body[:-1].decode()))
                answered()
            elif message == b"c":
                executed.append(ROWS)
                answered()
            elif message == b"S":
                answered()

        def answered() -> None:
            if executed == ["BEGIN"]:
                # Settings of the connection precede its first BEGIN.
                transaction.clear()
            if executed:
                transaction.append(" + ".join(dict.fromkeys(executed)))
                executed.clear()
            if transaction and transaction[-1] in ("COMMIT", "ROLLBACK"):
                self.transactions.append(transaction.copy())
                transaction.clear()

        return tap


@dataclass
class BrokerRequests:
    """The subjects that clients publish to a NATS server.

    `asked` are those after which a client waits for an answer.
    """

    published: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def connection(self) -> Callable[[bytes], None]:
        """Return a `tap` for a Proxy."""
        buffer = bytearray()

        def tap(data: bytes) -> None:
            buffer.extend(data)
            while (end := buffer.find(b"\r\n")) >= 0:
                command, *words = bytes(buffer[:end]).decode().split()
                size = end + 2
                if command in ("PUB", "HPUB"):
                    size += int(words[-1]) + 2
                    if len(buffer) < size:
                        return
                    self.published.append(words[0])
                    reply = words[1] if len(words) == (3 if command == "PUB" else 4) else ""
                    if reply and (not reply.endswith(_OF_BATCH) or reply.endswith(_END_OF_BATCH)):
                        self.asked.append(words[0])
                del buffer[:size]

        return tap
