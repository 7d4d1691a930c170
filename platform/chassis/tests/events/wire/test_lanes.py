"""The lane of a partition key: the platform and the server compute the same."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.events.wire.lanes import LANES, lane_of
from localservers import NatsServer

# A busy machine makes no test fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.unit
class TestLaneOfAKey:
    @pytest.mark.parametrize(
        ("key", "hash"),
        [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)],
    )
    def test_the_hash_is_fnv_1a(self, key: str, hash: int) -> None:
        assert lane_of(key, 2**32) == hash

    @unhurried
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_the_lane_is_in_range(self, key: str) -> None:
        assert 0 <= lane_of(key) < LANES

    def test_keys_spread_over_all_lanes(self) -> None:
        found = Counter(lane_of(f"order-{n}") for n in range(10_000))
        assert len(found) == LANES
        assert max(found.values()) < 1.5 * min(found.values())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    config = f'mappings = {{ "in.*": "out.{{{{wildcard(1)}}}}.{{{{partition({LANES},1)}}}}" }}'
    with NatsServer(Path(tmp_path_factory.mktemp("nats")), config=config) as running:
        yield running


# Texts that a token of a subject may hold.
tokens = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters=".*>"), min_size=1
)


class TestServersPartition:
    @settings(unhurried, max_examples=30)
    @given(st.lists(tokens, min_size=1, max_size=30, unique=True))
    def test_the_servers_partition_mapping_gives_the_same_lane(
        self, server: NatsServer, keys: list[str]
    ) -> None:
        assert asyncio.run(self.partitions(server, keys)) == {key: lane_of(key) for key in keys}

    async def partitions(self, server: NatsServer, keys: list[str]) -> dict[str, int]:
        async with await nats.connect(server.url, allow_reconnect=False) as client:
            subscription = await client.subscribe("out.>")
            for key in keys:
                await client.publish(f"in.{key}", b"")
            arrived = [await subscription.next_msg(5) for _ in keys]
        parts = [message.subject.split(".") for message in arrived]
        return {key: int(lane) for _, key, lane in parts}
