"""Dashboards and alerts on a real Prometheus that scrapes a running platform."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_server import needs_prometheus
from prometheus_server import prometheus as running_prometheus
from running_platform import running

from demo.catalog import from_sample
from demo.replay import replay
from demo.seed import load_products
from devkit.platform import Platform, PlatformOptions

pytestmark = [
    pytest.mark.xdist_group("restarts"),
    pytest.mark.timeout(600),
    needs_prometheus,
]

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "docker/observability/grafana/dashboards").glob("*.json"))
ALERTS = ROOT / "deploy/helm/service/files/alerts.yaml"
VARIABLES = {"$job": ".*", "$__rate_interval": "1m"}
PATIENCE_SECONDS = 180


@dataclass(frozen=True)
class Query:
    """An expression and its place in a file."""

    place: str
    expression: str


def of_dashboards() -> Iterator[Query]:
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                expression: str = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                yield Query(f"{file.stem}: {panel['title']}", expression)


def of_alerts() -> Iterator[Query]:
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield Query(f"alert {rule['alert']}", rule["expr"])


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def result(self, expression: str) -> list[Any]:
        found: list[Any] = self.get("query", query=expression)["result"]
        return found


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(PlatformOptions(tmp_path_factory.mktemp("platform"), free_ports=True)) as platform:
        yield platform


@pytest.fixture(scope="module")
def prometheus(
    platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes every second and has the deployed rules."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(ALERTS, folder)
    jobs = [
        {
            "job_name": process.service,
            "static_configs": [{"targets": [f"127.0.0.1:{process.http_port}"]}],
        }
        for process in platform.processes
    ]
    with running_prometheus(folder, jobs, "1s", [ALERTS.name]) as url:
        yield Prometheus(url)


@pytest.fixture(scope="module", autouse=True)
def scraped(platform: Platform, prometheus: Prometheus) -> None:
    """The shop after orders, some of them cancelled, with scrapes before and after."""
    wait_for(prometheus, "sum(up)", len(platform.processes))
    asyncio.run(orders(platform))
    wait_for(prometheus, "sum(increase(order_seconds_count[5m])) > bool 0", 1)


async def orders(platform: Platform) -> None:
    selection = from_sample(40)
    await load_products(platform.of("inventory")[0].grpc_address, selection.catalog)
    record = await replay(platform.url("gateway"), selection.baskets(), 4)
    assert len(record.placed) == 40


def wait_for(prometheus: Prometheus, expression: str, value: float) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ((found := prometheus.result(expression)) and float(found[0]["value"][1]) == value):
        assert time.monotonic() < deadline, (expression, found)
        time.sleep(0.2)


@pytest.mark.parametrize("query", list(of_dashboards()), ids=lambda query: query.place)
def test_a_panel_shows_data(prometheus: Prometheus, query: Query) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not prometheus.result(query.expression):
        assert time.monotonic() < deadline, query.expression
        time.sleep(0.2)


@pytest.mark.parametrize("query", [*of_dashboards(), *of_alerts()], ids=lambda query: query.place)
def test_every_metric_of_a_query_is_one_that_a_service_tells(
    platform: Platform, query: Query
) -> None:
    told = {
        name
        for process in platform.processes
        for name in told_by(httpx.get(f"{process.http_url}/metrics", trust_env=False).text)
    }
    assert sorted(metrics_of(query.expression) - told) == []


def told_by(page: str) -> Iterator[str]:
    """Yield the names of series on a page of metrics; a family without samples has its type."""
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M):
        yield name
        if kind == "histogram":
            yield from (f"{name}_bucket", f"{name}_sum", f"{name}_count")
    # Prometheus itself adds this metric.
    yield "up"


def metrics_of(expression: str) -> set[str]:
    """Return the names of metrics in an expression."""
    rest = re.sub(r'"[^"]*"', "", expression)
    rest = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|on|without) \([^)]*\)", "", rest)
    names = re.findall(r"\b[a-z_:][a-z0-9_:]*\b(?!\s*\()", rest)
    return set(names) - {"or", "and", "unless", "offset", "bool", "m", "h", "s"}


def test_no_alert_calls_and_each_is_evaluated(prometheus: Prometheus) -> None:
    groups = prometheus.get("rules", type="alert")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(list(of_alerts()))
    assert [
        (rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"
    ] == []
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert firing == []


def test_every_dashboard_has_an_id_of_its_own_and_no_data_source_of_somebodys() -> None:
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS]
    assert [board["uid"] for board in boards] == [file.stem for file in DASHBOARDS]
    for board in boards:
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool on the PATH")
def test_the_configuration_of_prometheus_is_valid(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker/observability/prometheus/prometheus.yaml", tmp_path)
    shutil.copy(ALERTS, tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yaml"],
        cwd=tmp_path, env=os.environ, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
