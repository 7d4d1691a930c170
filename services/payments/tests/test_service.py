"""The declarations in the service.py of payments are complete."""

from chassis.testing import check_declarations
from payments.service import service


def test_what_payments_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
