"""Orders' handlers on an empty database."""

from collections.abc import Callable

import pytest

from chassis import Service, ServiceSettings
from chassis.testing import HandlerHarness
from orders.service import service
from orders.settings import OrdersSettings


@pytest.fixture
def harness(
    make_harness: Callable[[Service, ServiceSettings], HandlerHarness],
) -> HandlerHarness:
    return make_harness(service, OrdersSettings())
