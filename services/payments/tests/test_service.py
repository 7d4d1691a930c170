"""The declarations in the service.py of payments are complete."""

import pytest

from chassis.testing import check_declarations
from payments.service import service

pytestmark = pytest.mark.unit


def test_what_payments_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
