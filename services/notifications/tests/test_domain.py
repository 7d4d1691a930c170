"""The texts of notifications."""

import pytest

from notifications.domain import CancelReason, cancellation_text, confirmation_text

pytestmark = pytest.mark.unit


def test_a_confirmation_names_order_and_total() -> None:
    text = confirmation_text("o-1", 1999, "USD")
    assert text == "Your order o-1 is confirmed: 19.99 USD."


@pytest.mark.parametrize("reason", CancelReason)
def test_a_cancellation_names_order_and_reason(reason: CancelReason) -> None:
    text = cancellation_text("o-1", reason)
    assert "o-1" in text
    assert reason in text
