"""A relay compares outbox and stream on time."""

import time
from collections.abc import Callable, Iterator

import pytest
from bookshop import TestSettings

from chassis.database import Database
from chassis.events.jetstream.api import BatchIncomplete, StreamGone, WrongLastSequence
from chassis.events.producer.event_factory import EventFactory
from chassis.events.producer.reconciling import Reconciler

pytestmark = pytest.mark.unit

SETTINGS = TestSettings(
    relay_reconcile_seconds=60, relay_sweep_seconds=1, stream_max_age_seconds=1000
)


@pytest.fixture
def database(new_database: Callable[[str], str]) -> Iterator[Database]:
    database = Database(new_database("shop"), EventFactory("shop"))
    yield database
    database.close()


def reconciler_of(database: Database, settings: TestSettings = SETTINGS) -> Reconciler:
    return Reconciler(database, "shop", ["area.shop.v1.Sold"], settings)


def test_a_comparison_is_due_after_the_configured_interval(database: Database) -> None:
    reconciler, now = reconciler_of(database), time.monotonic()
    assert not reconciler.is_due(now - 50)
    assert reconciler.is_due(now - 70)


def test_a_comparison_is_due_within_a_quarter_of_the_streams_age(database: Database) -> None:
    settings = SETTINGS.model_copy(update={"stream_max_age_seconds": 100})
    reconciler, now = reconciler_of(database, settings), time.monotonic()
    assert not reconciler.is_due(now - 20)
    assert reconciler.is_due(now - 30)


def test_a_comparison_is_due_at_each_sweep_while_publishing_is_hindered(database: Database) -> None:
    reconciler, now = reconciler_of(database), time.monotonic()
    reconciler.hindrance.over("stream 'shop' lacks area.shop.v1.Sold.*")
    assert reconciler.is_due(now - 2)


def test_a_refused_event_is_explained_only_by_a_subject_that_is_known_to_be_missing(
    database: Database,
) -> None:
    reconciler = reconciler_of(database)
    gone = StreamGone(404, 10059, "no stream has the subject")
    assert not reconciler.explains(gone)
    reconciler.hindrance.over("stream 'shop' lacks area.shop.v1.Sold.*")
    assert reconciler.explains(gone)
    assert not reconciler.explains(BatchIncomplete(400, 10208, "batch publish ID unknown"))
    assert not reconciler.explains(WrongLastSequence(400, 10071, "wrong last sequence: 7"))
