"""A canary's weight moves and its pod is killed while 20,000 events arrive: all promises hold.

`ARGS=-s` prints what was measured. CANARY_EVENTS is the number of events, of 500 keys.
"""

import os
from collections.abc import Callable

import pytest
from canary_course import go_round, promised, tell
from canary_evidence import switches
from canary_pods import Bookstore, PodTrial
from canary_trial import STABLE
from cluster_node import Node

from devkit.cluster.namespace import Namespace
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

_EVENTS = int(os.environ.get("CANARY_EVENTS", "20000"))
_KEYS = 500
_ROUNDS = 2
_REGISTRY = os.environ.get("REGISTRY", "localhost:5000")


@pytest.fixture
def bookstore(tag: str, make_namespace: Callable[..., Namespace]) -> Bookstore:
    """The test service in a mesh; it is not started yet."""
    namespace = make_namespace("privileged", **{"istio-injection": "enabled"})
    bookstore = Bookstore(find_workspace(), namespace, _REGISTRY, tag)
    bookstore.install()
    return bookstore


async def test_every_key_is_handled_by_one_version_between_changes(
    bookstore: Bookstore, node: Node
) -> None:
    with bookstore.reached() as (url, nats_url):
        trial = PodTrial(bookstore, node, url=url, nats_url=nats_url, keys=_KEYS, seed=1)
        async with trial:
            await trial.start(STABLE)
            for _ in range(_ROUNDS):
                await go_round(trial, _EVENTS // _ROUNDS)
            rows = await promised(trial)
    tell(trial, rows)
    assert len(rows) == _EVENTS
    assert max(switches(rows, trial.changes).values()) <= 1
