"""docs/architecture.md names files that exist, and every test of the event path."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_tests_and_files_that_it_names_exist() -> None:
    named = re.findall(r"`((?:platform|tests|services|contracts)/[\w/.-]+)`", TEXT)
    named += [
        f"platform/chassis/src/{name}" for name in re.findall(r"`(chassis/[\w/]+\.py)`", TEXT)
    ]
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_event_path_test_is_named() -> None:
    tests = (ROOT / "platform/chassis/tests/events").rglob("test_*.py")
    elementary = {"test_waiting.py", "test_broadcasts.py"}
    unnamed = sorted(test.name for test in tests if test.name not in TEXT)
    assert set(unnamed) <= elementary
