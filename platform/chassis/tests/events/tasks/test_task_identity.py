"""The id of a task is never used again, so that a late attempt can only finish its own task."""

import pytest
from bookshop import write_down
from killers import leases_run_out
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import Transaction
from chassis.events.tasks import claims, dead_letter_rows
from chassis.events.tasks.queue import TaskFilter
from chassis.events.tasks.task import ClaimLost, Task

pytestmark = pytest.mark.unit

TYPES = ["bookstore.v1.BookSold"]


def claim(tx: Transaction, owner: str) -> Task:
    claimed, _ = claims.claim(
        tx.session, TaskFilter(TYPES), dict.fromkeys(TYPES, 1), owner=owner, lease_seconds=600
    )
    return claimed[0]


async def test_a_late_attempt_does_not_finish_a_task_stored_later(
    task_store: TaskStore,
) -> None:
    (first,) = await task_store.add(BookSold(book_id="a"))
    late = await task_store.database.transaction(lambda tx: claim(tx, "late"))
    await leases_run_out(task_store.database)
    other = task_store.connect()

    def end_it(tx: Transaction) -> None:
        claims.claim(
            tx.session, TaskFilter(TYPES), dict.fromkeys(TYPES, 1), owner="other", lease_seconds=600
        )
        freed = claims.claim_suspect(tx.session, owner="other", types=TYPES, lease_seconds=600)
        assert freed
        claims.finish(tx.session, freed)
        write_down(tx, first)

    await other.transaction(end_it)
    await task_store.add(BookSold(book_id="b"))
    second = await other.transaction(lambda tx: claim(tx, "other"))
    assert second.attempt == late.attempt

    with pytest.raises(ClaimLost):
        await task_store.database.transaction(lambda tx: claims.finish(tx.session, late))
    assert [row.event_id for row in await task_store.rows()] == [second.event_id]
    await other.transaction(lambda tx: claims.finish(tx.session, second))
    other.close()


async def test_the_id_of_a_dead_letter_is_not_used_again(task_store: TaskStore) -> None:
    """An operator names dead letters by their ids."""

    def die(tx: Transaction) -> None:
        task = claim(tx, "one")
        dead_letter_rows.bury(tx.session, task, tries=1, reason="no reason")

    numbers = set()
    for _ in range(2):
        await task_store.add(BookSold(book_id="a"))
        await task_store.database.transaction(die)
        (letter,) = await task_store.dead()
        numbers.add(letter.id)
        await task_store.database.transaction(lambda tx: dead_letter_rows.redrive(tx.session))
        redriven = await task_store.database.transaction(lambda tx: claim(tx, "one"))
        await task_store.database.transaction(
            lambda tx, redriven=redriven: claims.finish(tx.session, redriven)  # type: ignore[misc]
        )
    assert len(numbers) == 2
