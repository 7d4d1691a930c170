"""Shares of lanes: each lane has one owner, and loads are balanced by members or by weights."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.events.membership.shares import Member, need_no_others, share_of_lanes
from chassis.events.wire.lanes import LANES

pytestmark = pytest.mark.unit

# A busy machine makes no test fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

versions = st.sampled_from(["v1", "v2", "v3"])
memberships = st.dictionaries(
    st.uuids().map(str),
    st.builds(Member, versions, st.none() | st.integers(0, 100)),
    min_size=1,
    max_size=25,
)
one_version = st.lists(st.uuids().map(str), min_size=1, max_size=25, unique=True)


def loads(share: dict[int, str], members: dict[str, Member]) -> dict[str, int]:
    found = Counter(share.values())
    return {id: found[id] for id in members}


def by_version(members: dict[str, Member]) -> Counter[str]:
    return Counter(members[id].version for id in share_of_lanes(members).values())


def replicas(version: str, count: int, weight: int | None = None) -> dict[str, Member]:
    return {f"{version}-{n}": Member(version, weight) for n in range(count)}


class TestShareOfLanes:
    @unhurried
    @given(memberships)
    def test_every_lane_has_one_owner_unless_only_canaries_run(
        self, members: dict[str, Member]
    ) -> None:
        share = share_of_lanes(members)
        leaves_no_rest = need_no_others(members.values())
        if leaves_no_rest or any(member.weight is None for member in members.values()):
            assert set(share) == set(range(LANES))
        assert set(share) <= set(range(LANES))
        assert set(share.values()) <= {id for id, m in members.items() if m.weight != 0}

    def test_without_members_no_lane_has_an_owner(self) -> None:
        assert share_of_lanes({}) == {}

    @unhurried
    @given(memberships, st.randoms(use_true_random=False))
    def test_the_order_of_the_membership_does_not_matter(
        self, members: dict[str, Member], randomly: random.Random
    ) -> None:
        ids = list(members)
        randomly.shuffle(ids)
        assert share_of_lanes({id: members[id] for id in ids}) == share_of_lanes(members)

    @unhurried
    @given(memberships)
    def test_loads_of_members_of_a_version_differ_by_one_at_most(
        self, members: dict[str, Member]
    ) -> None:
        borne = loads(share_of_lanes(members), members)
        weighted = {m.version for m in members.values() if m.weight}
        for version in weighted:
            of_version = [
                borne[id] for id, m in members.items() if m.version == version and m.weight
            ]
            assert max(of_version) - min(of_version) <= 1

    @unhurried
    @given(one_version, st.data())
    def test_without_weights_all_versions_are_one_pool(
        self, ids: list[str], data: st.DataObject
    ) -> None:
        mixed = {id: Member(data.draw(versions)) for id in ids}
        share = share_of_lanes(mixed)
        assert share == share_of_lanes({id: Member("same") for id in ids})
        assert max(loads(share, mixed).values()) - min(loads(share, mixed).values()) <= 1

    def test_few_lanes_move_when_a_member_comes_or_goes(self) -> None:
        moved = needed = 0
        randomly = random.Random(7)
        for count in list(range(1, 21)) * 5:
            ids = [f"{randomly.getrandbits(64):x}" for _ in range(count + 1)]
            before = share_of_lanes({id: Member("v") for id in ids[:-1]})
            after = share_of_lanes({id: Member("v") for id in ids})
            moved += sum(before[lane] != after[lane] for lane in before)
            needed += sum(owner == ids[-1] for owner in after.values())
        # Each lane of the new member must move. A few others do, to balance the loads.
        assert moved < 1.5 * needed


class TestWeights:
    @pytest.mark.parametrize(
        ("weight", "lanes"),
        [(0, 0), (2, 0), (3, 1), (5, 1), (10, 2), (50, 10), (95, 19), (100, 20)],
    )
    def test_a_canary_takes_its_percentage_of_the_lanes(self, weight: int, lanes: int) -> None:
        members = replicas("stable", 3) | replicas("canary", 2, weight)
        assert by_version(members)["canary"] == lanes

    def test_the_remaining_lanes_go_to_the_versions_without_a_weight(self) -> None:
        members = replicas("v1", 1) | replicas("v2", 1) | replicas("v3", 2, 20)
        found = by_version(members)
        assert (found["v3"], found["v1"], found["v2"]) == (4, 8, 8)

    @pytest.mark.parametrize(
        ("one", "other", "lanes"), [(60, 40, (12, 8)), (75, 75, (10, 10)), (100, 0, (20, 0))]
    )
    def test_versions_whose_weights_leave_no_rest_share_all_lanes(
        self, one: int, other: int, lanes: tuple[int, int]
    ) -> None:
        found = by_version(replicas("v1", 1, one) | replicas("v2", 3, other))
        assert (found["v1"], found["v2"]) == lanes

    def test_the_share_of_a_canary_without_members_goes_to_the_others(self) -> None:
        before = replicas("stable", 2) | replicas("canary", 2, 50)
        assert by_version(before)["canary"] == LANES // 2
        assert by_version(replicas("stable", 2)) == {"stable": LANES}

    def test_a_canary_gets_no_more_than_its_weight_if_no_other_version_runs(self) -> None:
        """Events wait while the stable version restarts; an unproven one must not get them all."""
        assert by_version(replicas("canary", 2, 5)) == {"canary": 1}
        assert by_version(replicas("v1", 1, 30) | replicas("v2", 3, 10)) == {"v1": 6, "v2": 2}
        assert share_of_lanes(replicas("v1", 1, 0) | replicas("v2", 1, 0)) == {}

    def test_a_canary_keeps_its_lanes_when_the_other_version_ends(self) -> None:
        canary = replicas("canary", 2, 30)
        before = share_of_lanes(replicas("stable", 3) | canary)
        assert share_of_lanes(canary) == {lane: id for lane, id in before.items() if id in canary}

    def test_a_canary_of_the_stable_version_takes_its_percentage_too(self) -> None:
        members = replicas("v1", 3) | {"canary": Member("v1", 10)}
        assert Counter(share_of_lanes(members).values())["canary"] == 2

    def test_replicas_of_one_version_that_disagree_count_with_the_higher_weight(self) -> None:
        members = replicas("stable", 2) | {"a": Member("canary", 10), "b": Member("canary", 50)}
        assert by_version(members)["canary"] == 10

    @unhurried
    @given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 5), st.integers(1, 5))
    def test_a_greater_weight_only_moves_lanes_to_its_version(
        self, one: int, other: int, stable: int, canary: int
    ) -> None:
        low, high = sorted((one, other))
        rest = replicas("stable", stable)
        before = share_of_lanes(rest | replicas("canary", canary, low))
        after = share_of_lanes(rest | replicas("canary", canary, high))
        assert {lane for lane, id in before.items() if id.startswith("canary")} <= {
            lane for lane, id in after.items() if id.startswith("canary")
        }

    @unhurried
    @given(
        st.integers(0, 100),
        st.integers(0, 100),
        st.dictionaries(st.sampled_from(["v1", "v2", "v4"]), st.none() | st.integers(0, 100)),
    )
    def test_a_greater_weight_takes_no_lanes_away_among_many_versions(
        self, one: int, other: int, weights: dict[str, int | None]
    ) -> None:
        low, high = sorted((one, other))
        others = {id: m for v, w in weights.items() for id, m in replicas(v, 2, w).items()}
        lighter = by_version(others | replicas("v3", 1, low))
        heavier = by_version(others | replicas("v3", 1, high))
        assert lighter["v3"] <= heavier["v3"]
