"""The declarations in the service.py of notifications are complete."""

import pytest

from chassis.testing import check_declarations
from notifications.service import service

pytestmark = pytest.mark.unit


def test_what_notifications_publishes_and_calls_is_declared() -> None:
    check_declarations(service)
