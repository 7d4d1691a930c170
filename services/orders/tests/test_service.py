"""The declarations in the service.py of orders are complete."""

import pytest

from chassis.testing import check_declarations
from orders.service import service

pytestmark = pytest.mark.unit


def test_what_orders_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
