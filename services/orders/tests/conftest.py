"""Orders' handlers on an empty database."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chassis import Service, ServiceSettings
from chassis.testing import HandlerHarness
from orders.service import service
from orders.settings import OrdersSettings

sys.path.insert(0, str(Path(__file__).parent / "parts"))


@pytest.fixture
def harness(
    make_harness: Callable[[Service, ServiceSettings], HandlerHarness],
) -> HandlerHarness:
    return make_harness(service, OrdersSettings())
