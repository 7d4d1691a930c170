"""The rule of payments."""

import pytest

from payments.domain import authorizes
from payments.settings import PaymentsSettings


@pytest.mark.parametrize(("total", "yes"), [(0, True), (15_000, True), (15_001, False)])
def test_a_total_up_to_the_limit_is_authorized(total: int, yes: bool) -> None:
    assert authorizes(total, PaymentsSettings.model_fields["payment_limit"].default) is yes


def test_a_negative_total_is_never_authorized() -> None:
    assert not authorizes(-1, 100)
