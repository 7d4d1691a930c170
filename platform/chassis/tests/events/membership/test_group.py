"""Members are believed to run for their TTL, and a group has one database."""

from uuid import UUID

import pytest
from hand_clock import HandClock

from chassis.events.membership.announcement import Announcement
from chassis.events.membership.group import Group

pytestmark = pytest.mark.unit

FIRST = str(UUID(int=1))
SECOND = str(UUID(int=2))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def group(clock: HandClock) -> Group:
    group = Group(clock)
    group.database = FIRST
    group.listen()
    return group


def said(ttl: float = 10, database: str | None = FIRST, *, joined: bool = True) -> Announcement:
    return Announcement("1", ttl, database, joined=joined)


def test_a_member_is_believed_for_the_time_it_asked_for(group: Group, clock: HandClock) -> None:
    group.note("patient", said(ttl=60))
    group.note("hasty", said(ttl=1))

    clock.now += 5

    assert group.expire() == ["hasty"]
    assert set(group.members) == {"patient"}


def test_an_announcement_that_was_kept_for_longer_than_it_holds_says_nothing(group: Group) -> None:
    assert not group.note("late", said(ttl=10), age=10)
    assert group.members == {}


def test_no_member_expires_while_no_announcement_could_be_received(
    group: Group, clock: HandClock
) -> None:
    group.note("one", said(ttl=10))
    # This time passes while the broker is unavailable.
    clock.now += 60
    group.listen()

    assert group.expire() == []
    clock.now += 11
    assert group.expire() == ["one"]


def test_the_versions_of_a_type_are_unknown_if_a_member_does_not_announce_its_types(
    group: Group,
) -> None:
    sold, returned = "bookstore.v1.BookSold", "bookstore.v1.BookReturned"
    group.note("one", Announcement("1", 10, FIRST, types=frozenset({sold})))
    group.note("two", Announcement("2", 10, FIRST, types=frozenset({sold, returned})))
    group.note("canary", Announcement("3", 10, FIRST, types=frozenset({sold}), weight=5))
    group.note("aborted", Announcement("4", 10, FIRST, types=frozenset({sold}), weight=0))
    assert group.versions_of(sold, canaries=False) == frozenset({"1", "2"})
    assert group.versions_of(returned, canaries=False) == frozenset({"2"})
    assert group.versions_of(sold, canaries=True) == frozenset({"3"})

    group.note("older", said())
    assert group.versions_of(sold, canaries=False) is None


def test_only_what_changes_the_group_is_told(group: Group) -> None:
    assert group.note("one", said())
    assert not group.note("one", said())
    assert group.note("one", said(database=SECOND))
    assert group.forget("one")
    assert not group.forget("one")


def test_a_member_with_another_database_does_not_belong_to_the_group(group: Group) -> None:
    group.note("stranger", said(database=SECOND))
    group.note("of an older version", said(database=None))

    assert set(group.members) == {"of an older version"}


@pytest.mark.parametrize(
    ("joined", "rival_joined", "rival"),
    [
        # This member's database was created first.
        (True, True, None),
        (True, False, None),
        (False, False, None),
        # The mistake of a new member does not stop a group that works.
        (False, True, (SECOND, "stranger")),
    ],
)
def test_of_two_databases_the_one_that_works_goes_first_then_the_one_made_first(
    group: Group, *, joined: bool, rival_joined: bool, rival: tuple[str, str] | None
) -> None:
    group.note("stranger", said(database=SECOND, joined=rival_joined))

    assert group.rival(joined=joined) == rival


def test_a_database_that_was_made_later_gives_way(group: Group) -> None:
    group.database = SECOND
    group.note("stranger", said(database=FIRST))

    assert group.rival(joined=True) == (FIRST, "stranger")


def test_a_change_is_counted_only_if_what_is_known_of_the_members_has_changed(
    group: Group, clock: HandClock
) -> None:
    counts = [group.changes]
    for announced in (said(), said(), said(joined=False)):
        group.note("one", announced)
        counts.append(group.changes)
    group.forget("stranger")
    group.forget("one")
    counts.append(group.changes)
    group.note("two", said())
    clock.now += 11
    group.expire()
    counts.append(group.changes)
    assert [each - counts[0] for each in counts] == [0, 1, 1, 2, 3, 5]
