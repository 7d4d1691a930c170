"""The declarations in the service.py of the gateway are complete."""

import pytest

from chassis.testing import check_declarations
from gateway.service import service

pytestmark = pytest.mark.unit


def test_what_the_gateway_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
