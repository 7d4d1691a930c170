"""A member is barred while another database takes precedence over its own."""

import pytest
from structlog.testing import capture_logs

from chassis.events.membership.admittance import Admittance

pytestmark = pytest.mark.unit


@pytest.fixture
def admittance() -> Admittance:
    return Admittance("books")


def test_a_member_is_neither_joined_nor_barred_at_first(admittance: Admittance) -> None:
    assert not admittance.joined.is_set()
    assert not admittance.barred.is_set()


def test_a_barred_member_says_which_database_it_gives_way_to_and_logs_it_once(
    admittance: Admittance,
) -> None:
    admittance.admit()
    with capture_logs() as logs:
        admittance.bar("mine", ("theirs", "7"))
        admittance.bar("mine", ("theirs", "7"))

    assert (admittance.joined.is_set(), admittance.barred.is_set()) == (False, True)
    assert "member 7 handles the events of books with database theirs" in admittance.refused
    assert len(logs) == 1


def test_a_member_is_newly_admitted_after_it_was_barred(admittance: Admittance) -> None:
    assert admittance.admit()
    assert not admittance.admit()
    admittance.bar("mine", ("theirs", "7"))

    assert admittance.admit()
    assert (admittance.refused, admittance.barred.is_set()) == ("", False)
