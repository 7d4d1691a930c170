"""The migrations of orders."""

from collections.abc import Callable

import pytest

from chassis import Service
from chassis.testing import HandlerHarness
from orders.service import service

pytestmark = [pytest.mark.dialect, pytest.mark.unit]


def test_the_migrations_make_the_tables_that_the_code_declares(
    harness: HandlerHarness, drift: Callable[[HandlerHarness, Service], list[object]]
) -> None:
    assert drift(harness, service) == []
