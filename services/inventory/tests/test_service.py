"""The declarations in the service.py of inventory are complete."""

import pytest

from chassis.testing import check_declarations
from inventory.service import service

pytestmark = pytest.mark.unit


def test_what_inventory_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
