import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from chassis.ids import IdSequence, uuid7


def test_an_id_is_a_uuid_of_version_7_with_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    parsed = uuid.UUID(made)
    assert str(parsed) == made
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert before - 1 <= parsed.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_each_id_is_greater_than_the_one_before() -> None:
    made = [uuid7() for _ in range(50_000)]
    assert made == sorted(set(made))


def test_threads_get_different_ids_in_order() -> None:
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: [uuid7() for _ in range(5_000)], range(4)))
    assert all(batch == sorted(batch) for batch in batches)
    assert len({id for batch in batches for id in batch}) == 20_000


def test_ids_keep_increasing_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    first = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    assert uuid7() > first


def test_ids_continue_in_the_next_millisecond_when_the_counter_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen = time.time_ns() + 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: frozen)
    sequence = IdSequence(millisecond=frozen // 1_000_000, counter=2**42 - 2)
    made = [sequence.next() for _ in range(3)]
    assert made == sorted(made)
    assert [uuid.UUID(id).int >> 80 for id in made] == [
        frozen // 1_000_000,
        frozen // 1_000_000 + 1,
        frozen // 1_000_000 + 1,
    ]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="nothing to fork")
def test_a_forked_child_has_its_own_counter() -> None:
    program = """
import os, time
from chassis.ids import IdSequence, uuid7
now = time.time_ns()
time.time_ns = lambda: now
uuid7()
if os.fork() == 0:
    print(uuid7()[:23], flush=True)
    os._exit(0)
os.wait()
print(uuid7()[:23])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    child, parent = done.stdout.split()
    assert child != parent
