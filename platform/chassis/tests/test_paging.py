"""The size of a page of a list."""

import pytest

from chassis import InvalidArgument
from chassis.paging import page_size

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("limit", "size"), [(0, 20), (1, 1), (100, 100)])
def test_a_page_has_the_requested_or_the_default_size(limit: int, size: int) -> None:
    assert page_size(limit, default=20, largest=100) == size


@pytest.mark.parametrize("limit", [-1, 101])
def test_an_invalid_limit_is_refused_by_its_field(limit: int) -> None:
    with pytest.raises(InvalidArgument, match="limit must be 1 to 100") as refused:
        page_size(limit, default=20, largest=100)
    assert refused.value.field == "limit"
