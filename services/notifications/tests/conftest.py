"""Notifications' handlers on an empty database."""

from collections.abc import Callable

import pytest

from chassis import Service, ServiceSettings
from chassis.testing import HandlerHarness
from notifications.service import service
from notifications.settings import NotificationsSettings


@pytest.fixture
def harness(
    make_harness: Callable[[Service, ServiceSettings], HandlerHarness],
) -> HandlerHarness:
    return make_harness(service, NotificationsSettings())
