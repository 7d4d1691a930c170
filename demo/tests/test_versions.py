"""The work of each version of a service with a canary, counted from its metrics, and shown."""

import pytest
from rich.text import Text

from demo.ledgers import Ledgers
from demo.record import Record
from demo.summary import Timing, render, summarize
from demo.versions import VersionCount, count_work

pytestmark = pytest.mark.unit

_PAGE = """
events_handled_total{type="shop.orders.v1.OrderPlaced"} 3.0
events_handled_total{type="shop.orders.v1.OrderConfirmed"} 2.0
events_failed_total{type="shop.orders.v1.OrderPlaced"} 1.0
grpc_server_handled_total{method="Get",code="OK"} 7.0
grpc_server_handled_total{method="Get",code="NOT_FOUND"} 1.0
http_requests_total{handler="/x",method="GET",status="2xx"} 4.0
"""


def test_the_work_of_all_replicas_of_a_version_is_added() -> None:
    work = count_work([_PAGE, _PAGE])
    assert work == VersionCount(events=10, failed=2, calls=16, requests=8)


def test_each_version_is_shown_with_its_share_of_the_work() -> None:
    summary = summarize(
        Record(), Ledgers({}, {}, {}, {}, {}), timing=Timing(1, 0, 0), events={}, memory={},
        restarts={},
        versions={"inventory": {
            "1a2b3c4": VersionCount(events=1400, calls=7),
            "canary": VersionCount(events=600, calls=3),
        }},
    )  # fmt: skip
    lines = [Text.from_markup(line).plain for line in render(summary, [], 200)]
    at = lines.index("inventory       events  failed    calls  requests")
    assert lines[at - 1 : at + 3] == [
        "",
        "inventory       events  failed    calls  requests",
        "1a2b3c4    1,400 (70%)       0  7 (70%)         0",
        "canary       600 (30%)       0  3 (30%)         0",
    ]


def test_without_a_canary_nothing_is_compared() -> None:
    summary = summarize(
        Record(), Ledgers({}, {}, {}, {}, {}), timing=Timing(1, 0, 0), events={}, memory={},
        restarts={},
    )  # fmt: skip
    assert not [line for line in render(summary, [], 200) if "calls" in line]
