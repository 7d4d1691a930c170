"""Values of columns survive a recording."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest

from chassis.shadow.plain_values import from_plain, shown, to_plain

pytestmark = pytest.mark.unit


class Status(StrEnum):
    NEW = "new"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**60),
        1.5,
        "text",
        b"\x00\xff",
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2026, 1, 2),
        date(2026, 1, 2),
        timedelta(days=-1, microseconds=7),
        Decimal("1.10"),
        UUID("01a21820-79f3-7769-9bc9-b910aea3a932"),
        {"kind": "datetime", "text": "no time"},
        [[1, "a"], {}],
    ],
)
def test_a_value_comes_back_equal_and_of_its_type(value: object) -> None:
    back = from_plain(to_plain(value))
    assert (back, type(back)) == (value, type(value))


def test_a_member_of_an_enum_is_its_value_and_other_things_are_refused() -> None:
    assert (to_plain(Status.NEW), shown(Status.NEW)) == ("new", "new")
    with pytest.raises(TypeError, match="a value of type object cannot be recorded"):
        to_plain(object())


def test_times_are_shown_in_utc() -> None:
    assert shown(datetime(2026, 1, 2, 3)) == "2026-01-02T03:00:00+00:00"
    assert shown(datetime.fromisoformat("2026-01-02T03:00:00+02:00")) == "2026-01-02T01:00:00+00:00"
