"""The pods' own text and a Prometheus server give the same readings."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from canary_sides import Process
from prometheus_client import start_http_server
from prometheus_server import needs_prometheus, prometheus

from devkit.canary.analysis import GATES, Readings, metric_names
from devkit.canary.metrics import PrometheusSource, read_pod_text
from devkit.errors import DevkitError
from localservers import free_port

PATIENCE_SECONDS = 60
NAMES = metric_names(GATES)
STABLE, CANARY = "orders-6d5f8b9c7-x2x4z", "orders-canary-7c9b5d6f4-k8w2q"


def target(port: int, pod: str, service: str, **more: str) -> dict[str, object]:
    labels = {"namespace": "shop", "pod": pod, "service": service, "endpoint": "http", **more}
    return {"targets": [f"127.0.0.1:{port}"], "labels": labels}


def eventually(read: Callable[[], Readings], holds: Callable[[Readings], bool]) -> Readings:
    """Read until the readings are as expected, and return them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        if holds(readings := read()):
            return readings
        assert time.monotonic() < deadline
        time.sleep(0.1)


@needs_prometheus
@pytest.mark.parametrize(
    "pods",
    [
        {STABLE: {}, CANARY: {}},
        {STABLE: {"track": "stable", "version": "1"}, "orders-v2-0": {"track": "canary"}},
    ],
    ids=["by name", "by label"],
)
def test_prometheus_gives_the_same_samples_as_the_pods_themselves(
    tmp_path: Path, pods: dict[str, dict[str, str]]
) -> None:
    stable, canary = pods
    processes = {pod: Process(started=1000.0) for pod in pods}
    with ExitStack() as stack:
        targets = []
        for pod, process in processes.items():
            port = free_port()
            server, _ = start_http_server(port, "127.0.0.1", process.registry)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            # A pod behind two Services is scraped twice.
            targets += [target(port, pod, name, **pods[pod]) for name in ("orders", "orders-track")]
            process.answer(100, 3)
            process.take(0.004, 50)
        jobs = [{"job_name": "orders", "static_configs": targets}]
        url = stack.enter_context(prometheus(tmp_path, jobs, "100ms"))
        source = PrometheusSource(url, "shop", "orders", NAMES, since=time.time())
        own = {pod: process.read(GATES).samples for pod, process in processes.items()}

        def same(readings: Readings) -> bool:
            sides = [
                {name: pod.samples for name, pod in side.items()}
                for side in (readings.stable, readings.canary)
            ]
            return sides == [{stable: own[stable]}, {canary: own[canary]}]

        eventually(source.read, same)
        processes[canary].started.set(2000.0)

        def only_the_canary_was(readings: Readings) -> bool:
            # On a busy machine a scrape may be late, so that a pod is missing for a moment.
            sides = (readings.canary, readings.stable)
            return [[pod.restarts for pod in side.values()] for side in sides] == [[1], [0]]

        eventually(source.read, only_the_canary_was)


def test_a_server_that_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DevkitError, match=url):
        PrometheusSource(url, "shop", "orders", NAMES, since=0.0).read()


@needs_prometheus
def test_a_query_that_prometheus_refuses_is_shown_with_its_reason(tmp_path: Path) -> None:
    with (
        prometheus(tmp_path, [], "1s") as url,
        pytest.raises(DevkitError, match=r"refuses: .*parse error"),
    ):
        PrometheusSource(url, 'a"b', "orders", NAMES, since=0.0).read()


def test_text_that_is_not_from_prometheus_is_refused() -> None:
    with pytest.raises(DevkitError, match="cannot be read"):
        read_pod_text("<html>not metrics</html>\n", NAMES)
