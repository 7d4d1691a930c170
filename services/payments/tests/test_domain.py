"""The rules of payments."""

import pytest

from payments.domain import is_authorized
from payments.settings import PaymentsSettings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("total", "expected"), [(0, True), (15_000, True), (15_001, False)])
def test_a_total_up_to_the_limit_is_authorized(total: int, expected: bool) -> None:
    assert is_authorized(total, PaymentsSettings.model_fields["payment_limit"].default) is expected


def test_a_negative_total_is_never_authorized() -> None:
    assert not is_authorized(-1, 100)
