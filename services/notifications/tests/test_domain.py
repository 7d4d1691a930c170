"""What customers are told."""

import pytest

from notifications.domain import Cancelled, text_of_cancellation, text_of_confirmation


def test_a_confirmation_names_order_and_total() -> None:
    text = text_of_confirmation("o-1", 1999, "USD")
    assert text == "Your order o-1 is confirmed: 19.99 USD."


@pytest.mark.parametrize("why", Cancelled)
def test_a_cancellation_names_order_and_reason(why: Cancelled) -> None:
    text = text_of_cancellation("o-1", why)
    assert "o-1" in text
    assert why in text
