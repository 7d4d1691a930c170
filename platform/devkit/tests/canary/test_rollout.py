"""A pod that can never run ends the wait for its rollout at once."""

import pytest

from devkit.canary.pods import TrackPod, why_it_waits
from devkit.canary.rollout import why_it_cannot_run

pytestmark = pytest.mark.unit


def pod(waiting: str = "", message: str = "", *, leaving: bool = False) -> TrackPod:
    return TrackPod(
        "orders-canary-1", "canary", "orders:2", not waiting, leaving, 0, waiting, message, 8081
    )


def test_an_image_that_cannot_be_pulled_is_named() -> None:
    reason = why_it_cannot_run([pod(), pod("ImagePullBackOff", "orders:2: not found")])
    assert reason == "ImagePullBackOff: orders:2: not found"


@pytest.mark.parametrize("waiting", ["", "ErrImagePull"])
def test_a_pod_that_may_still_run_is_waited_for(waiting: str) -> None:
    assert why_it_cannot_run([pod(waiting)]) == ""


def test_a_pod_that_leaves_does_not_count() -> None:
    assert why_it_cannot_run([pod("CrashLoopBackOff", leaving=True)]) == ""


def test_a_failed_migration_in_an_init_container_is_a_reason() -> None:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting migrate"}
    status = {
        "initContainerStatuses": [{"name": "migrate", "state": {"waiting": waiting}}],
        "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    assert why_it_waits(status) == ("CrashLoopBackOff", "back-off 10s restarting migrate")
