"""The declarations in the service.py of orders are complete."""

from chassis.testing import check_declarations
from orders.service import service


def test_what_orders_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
