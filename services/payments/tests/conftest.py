"""Payments' handlers on an empty database."""

from collections.abc import Callable

import pytest

from chassis import Service, ServiceSettings
from chassis.testing import HandlerHarness
from payments.service import service
from payments.settings import PaymentsSettings


@pytest.fixture
def harness(
    make_harness: Callable[[Service, ServiceSettings], HandlerHarness],
) -> HandlerHarness:
    return make_harness(service, PaymentsSettings(payment_limit=1000))
