"""In production a service makes no streams: `broker apply` does, at any time and again."""

import asyncio
from pathlib import Path

import pytest
from bookshop import eventually
from stall import Stall

from chassis.testing import NatsServer, free_port

# A process may take long to start beside many others.
pytestmark = pytest.mark.timeout(300)


async def test_in_production_a_service_is_degraded_until_a_release_has_made_its_streams(
    tmp_path: Path, nats: NatsServer
) -> None:
    stall = Stall(tmp_path, nats_url=nats.url, environment="production")
    assert stall.command("migrate").returncode == 0
    with stall:
        advice = "`python -m bookstore broker apply` makes it"
        missing_streams = {
            "publishing": f"stream 'bookstore' is missing: {advice}",
            "members": f"stream 'slipway-members' is missing: {advice}",
        }

        async def names_both() -> bool:
            answer = (await stall.answers("/readyz", 200)).json()
            told = answer["dependencies"]
            named = missing_streams.items() <= told.items()
            return bool(named and answer["status"] == "degraded")

        await eventually(names_both, 60)

        missing = await asyncio.to_thread(stall.command, "broker", "apply", "--check")
        assert (missing.returncode, missing.stderr) == (1, "")
        assert missing.stdout.startswith("stream bookstore        missing bookstore.v1.")
        made = await asyncio.to_thread(stall.command, "broker", "apply")
        assert (made.returncode, made.stderr) == (0, "")
        assert made.stdout == missing.stdout.replace("missing", "made")
        await stall.ready()
    again = await asyncio.to_thread(stall.command, "broker", "apply", "--check")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "stream bookstore        unchanged\nstream slipway-members  unchanged\n"


def test_more_copies_than_the_broker_can_keep_are_refused_with_its_reason(
    tmp_path: Path, nats: NatsServer
) -> None:
    stall = Stall(tmp_path, nats_url=nats.url, stream_replicas="3")
    ran = stall.command("broker", "apply", "--wait", "0")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert ran.stderr.startswith("the broker refused: ")
    assert "replicas" in ran.stderr


def test_a_broker_that_is_away_is_waited_for_and_then_named(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    ran = Stall(tmp_path, nats_url=url).command("broker", "apply", "--wait", "1")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert ran.stderr.startswith(f"the broker at {url} cannot be reached: ")
    wrong = Stall(tmp_path, nats_url=url).command("broker", "destroy")
    assert wrong.returncode == 64
