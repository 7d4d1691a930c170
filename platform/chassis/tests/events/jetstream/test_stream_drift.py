"""Each setting of a stream that endangers a promise is reported, with what to do about it."""

from collections.abc import Callable
from typing import Any

import pytest
from bookshop import TestSettings, eventually
from relaying import STREAM, Shop, StreamView
from structlog.testing import capture_logs

from chassis.events.jetstream.stream_drift import drift
from localservers import NatsServer

AS_MADE: dict[str, Any] = {
    "name": STREAM,
    "retention": "limits",
    "storage": "file",
    "discard": "old",
    "max_age": int(7 * 24 * 3600 * 1e9),
    "max_msgs": -1,
    "max_bytes": -1,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "num_replicas": 1,
    "allow_batched": True,
    "allow_direct": True,
}


def told(**changes: Any) -> list[str]:
    return drift(AS_MADE | changes, TestSettings())


def test_a_stream_as_it_is_created_has_no_drift() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("changes", "says", "do"),
    [
        ({"max_age": int(3600e9)}, "max_age 3600 s", "--max-age=604800s"),
        ({"max_age": 0}, "keeps events forever, and so does the outbox", "--max-age"),
        ({"max_msgs": 10}, "the oldest events are deleted", "edit bookstore --max-msgs=-1"),
        ({"max_bytes": 10}, "the oldest events are deleted", "--max-bytes=-1"),
        ({"max_msgs": 10, "discard": "new"}, "accepts no more events", "--max-msgs=-1"),
        ({"max_msgs_per_subject": 1}, "the oldest events are deleted", "--max-msgs-per-subject=-1"),
        (
            {"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True},
            "accepts no more events",
            "--max-msgs-per-subject=-1",
        ),
        ({"max_msg_size": 8192}, "larger events are set apart", "outbox resend"),
        ({"retention": "workqueue"}, "retention", "recreate the stream"),
        ({"storage": "memory"}, "each restart", "recreate the stream"),
        ({"num_replicas": 3}, "num_replicas 3, wanted 1", "APP_STREAM_REPLICAS"),
        ({"subject_transform": {"src": "a", "dest": "b"}}, "other subjects", "remove it"),
        ({"allow_batched": False}, "one by one", "set allow_batched"),
        ({"allow_direct": False}, "readers cannot request", "--allow-direct"),
        ({"sealed": True}, "accepts no more events", "recreate the stream"),
        ({"mirror": {"name": "x"}}, "only from there", "recreate the stream without it"),
        ({"no_ack": True}, "times out", "--ack"),
        ({"consumer_limits": {"inactive_threshold": int(1e9)}}, "are refused", "raise or remove"),
    ],
    ids=str,
)
def test_a_setting_that_endangers_a_promise_is_reported_with_what_to_do(
    changes: dict[str, Any], says: str, do: str
) -> None:
    (line,) = told(**changes)
    assert says in line
    assert do in line


async def test_a_change_and_its_correction_are_logged_once(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    async with Shop(new_database("shop")) as shop:
        running = shop.start_relay(nats.url)
        await shop.sell(range(1))
        await shop.sent()
        config = (await view.api(f"STREAM.INFO.{STREAM}"))["config"]
        with capture_logs() as log:
            for limit in (1000, -1):
                await view.api(f"STREAM.UPDATE.{STREAM}", {**config, "max_msgs": limit})
                for _ in range(2):
                    running.relay.reconcile()

                    async def is_seen(limit: int = limit) -> bool:
                        return bool(running.relay.reconciler.drift) == (limit > 0)

                    await eventually(is_seen)
                    await shop.sell(range(1))
                    await shop.sent()
        said = [line["event"] for line in log if line["event"].startswith("stream settings")]
        assert said == [
            "stream settings put events at risk; correct them",
            "stream settings are correct again",
        ]
