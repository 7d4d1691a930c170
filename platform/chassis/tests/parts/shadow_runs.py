"""Shadows of a service whose handlers a test gives, run by its own commands."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bookshop import journal, metadata
from google.protobuf.descriptor import ServiceDescriptor
from shell import Ran, Shell
from sqlalchemy import create_engine, inspect, text

from bookstore.v1 import BookReturned, BookSold
from chassis import EventRouter, Service, ServiceSettings, Shadow
from chassis.events.jetstream.api import api_request
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions

__all__ = ["Shadowed", "broker_state", "database_state", "journal"]


@dataclass(frozen=True)
class Replayed:
    """The lines of a shadow: of events, and of rows."""

    ran: Ran
    results: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    @property
    def outcomes(self) -> list[str]:
        return [result["outcome"] for result in self.results]

    @property
    def published(self) -> list[dict[str, Any]]:
        return [event for result in self.results for event in result["published"]]

    @property
    def without_times(self) -> list[dict[str, Any]]:
        """All lines without the seconds that handlers took."""
        return [{**result, "seconds": 0} for result in self.results] + self.rows


class Shadowed:
    """A service with a database, and a shell to run its commands."""

    def __init__(
        self,
        events: EventRouter,
        url: str,
        nats_url: str,
        *,
        name: str = "books",
        shadow: Shadow | None = None,
        calls: Sequence[ServiceDescriptor] = (),
        **variables: str,
    ) -> None:
        service = Service(
            name,
            settings=ServiceSettings,
            events=[events],
            publishes=[BookSold, BookReturned],
            calls=calls,
            tables=metadata,
            shadow=shadow,
        )
        self.shell = Shell(name, url, nats_url, defined=service, variables=variables)

    async def replay(self, *arguments: str) -> Replayed:
        """Run `events shadow` and return its lines."""
        ran = await self.shell.run("events", "shadow", *arguments)
        lines = [json.loads(line) for line in ran.out.splitlines()]
        return Replayed(
            ran,
            [line for line in lines if "outcome" in line],
            [line for line in lines if "table" in line],
        )


async def broker_state(nats_url: str, streams: Sequence[str]) -> dict[str, Any]:
    """Return what the broker holds: each stream's last message, settings and consumers.

    Messages of members expire by themselves.
    """
    async with connection(NatsOptions.of(nats_url, ServiceSettings(), "test"), "test") as client:
        state = {}
        for stream in streams:
            info = await api_request(client, f"STREAM.INFO.{stream}")
            consumers = await api_request(client, f"CONSUMER.NAMES.{stream}", {})
            last = info["state"]["last_seq"]
            state[stream] = (last, info["config"], sorted(consumers["consumers"] or ()))
        names = await api_request(client, "STREAM.NAMES", {})
        return {**state, "streams": sorted(names["streams"])}


def database_state(url: str) -> dict[str, list[Any]]:
    """Return all rows of all tables of a database, by the names of the tables."""
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        found = {
            table: sorted(map(repr, connection.execute(text(f'SELECT * FROM "{table}"'))))
            for table in tables
        }
    engine.dispose()
    return found
