"""Probes show what needs an operator and stay ready, because a restart would not help."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bookstore_process import BookstoreProcess
from sqlalchemy import create_engine, insert

from chassis.database.tables import dead_letters, paused_types, stopped_lanes
from localservers import NatsServer

# Processes may start slowly while many tests run.
pytestmark = pytest.mark.timeout(300)


async def test_readyz_tells_dead_letters_and_stopped_lanes_of_a_service_that_is_ready(
    tmp_path: Path, nats: NatsServer
) -> None:
    url = f"sqlite:///{tmp_path}/bookstore.db"
    with BookstoreProcess(tmp_path, nats_url=nats.url, database_url=url) as bookstore:
        await bookstore.wait_until_ready()
        engine = create_engine(url)
        texts = dict.fromkeys(("source", "key", "event_id", "type", "subject", "reason"), "x")
        blobs = dict.fromkeys(("headers", "data"), b"")
        with engine.begin() as connection:
            connection.execute(insert(dead_letters).values(**texts, **blobs, tries=1, died_at=0))
            connection.execute(
                insert(stopped_lanes).values(
                    # The service does not read this stream, so no reader deletes the row.
                    stream="elsewhere",
                    lane=7,
                    subject="a.elsewhere.v1.Gone.7",
                    reason="1 event is missing: number 3",
                    verb="skip",
                    stopped_at=0,
                )
            )
        engine.dispose()
        report = await told(bookstore, lambda events: events["dead_letters"] == 1)
        assert report["status"] == "ready"
        assert report["events"]["stopped_lanes"] == [
            "a.elsewhere.v1.Gone.7: 1 event is missing: number 3"
            " -> events skip a.elsewhere.v1.Gone.7"
        ]


async def test_readyz_and_metrics_tell_paused_types_of_a_service_that_is_ready(
    tmp_path: Path, nats: NatsServer
) -> None:
    url = f"sqlite:///{tmp_path}/bookstore.db"
    with BookstoreProcess(
        tmp_path, nats_url=nats.url, database_url=url, net_seconds="0.1"
    ) as bookstore:
        await bookstore.wait_until_ready()
        await told(bookstore, lambda events: events["paused_types"] == [])
        engine = create_engine(url)
        rows = [{"type": f"a.v1.{name}", "paused_at": 0, "paused_by": "x"} for name in "BA"]
        with engine.begin() as connection:
            connection.execute(insert(paused_types).values(rows))
        engine.dispose()
        report = await told(
            bookstore, lambda events: events["paused_types"] == ["a.v1.A", "a.v1.B"]
        )
        assert report["status"] == "ready"
        while (
            "event_types_paused 2.0" not in (await bookstore.wait_for_answer("/metrics", 200)).text
        ):
            await asyncio.sleep(0.1)


async def told(bookstore: BookstoreProcess, holds: Callable[[Any], bool]) -> Any:
    while True:
        report = (await bookstore.wait_for_answer("/readyz", 200)).json()
        if holds(report["events"]):
            return report
        await asyncio.sleep(0.1)
