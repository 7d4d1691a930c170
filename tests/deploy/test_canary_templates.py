"""The queries for Flagger and Argo Rollouts find a bad canary, and have no value in low traffic."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.canary.analysis import GATES

pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="there is no promtool on the PATH"
)

ROOT = Path(__file__).parents[2] / "deploy/canary"
STABLE, CANARY = "7d9f8b6c5", "5c6b7f9d8"


@dataclass(frozen=True)
class Query:
    """A query, the largest value of a good canary, and the names of the pods that it compares."""

    name: str
    promql: str
    most: float
    stable: str
    canary: str


def of_flagger() -> list[Query]:
    text = (ROOT / "flagger.yaml").read_text(encoding="utf-8")
    known = {"namespace": "shop", "target": "orders", "interval": "2m"}
    return [
        Query(
            template["metadata"]["name"],
            re.sub(r"\{\{ (\w+) \}\}", lambda use: known[use[1]], template["spec"]["query"]),
            float(template["metadata"]["annotations"]["slipway/meaning"].split("max: ")[1][:-1]),
            f"orders-primary-{STABLE}-x2x4z",
            f"orders-{CANARY}-k8w2q",
        )
        for template in yaml.safe_load_all(text)
    ]


def of_argo() -> list[Query]:
    spec = yaml.safe_load((ROOT / "argo-rollouts.yaml").read_text(encoding="utf-8"))["spec"]
    known = {
        "namespace": "shop",
        "service": "orders",
        "stable-hash": STABLE,
        "canary-hash": CANARY,
        "interval": "2m",
    }
    return [
        Query(
            metric["name"],
            re.sub(
                r"\{\{args\.([\w-]+)\}\}",
                lambda use: known[use[1]],
                metric["provider"]["prometheus"]["query"],
            ),
            float(metric["failureCondition"].split("> ")[-1]),
            f"orders-{STABLE}-x2x4z",
            f"orders-{CANARY}-k8w2q",
        )
        for metric in spec["metrics"]
    ]


QUERIES = [*of_flagger(), *of_argo()]


def series(query: Query, *, bad: bool, rate: int) -> dict[str, str]:
    """Return series of both sides: `rate` events per minute of the canary, 9 times that on stable.

    A bad canary fails one of 20 events, takes 5 times as long, and is behind.
    """
    found: dict[str, str] = {}
    for pod, factor, worse in ((query.stable, 9, False), (query.canary, 1, bad)):
        labels = f'namespace="shop",pod="{pod}",type="shop.Placed"'
        number = rate * factor
        for dead in ("another_version", "dead_letters"):
            found[f'events_given_up_total{{{labels},to="{dead}"}}'] = grows(number // 20 * worse)
        found[f"events_failed_at_first_total{{{labels}}}"] = grows(number // 20 * worse)
        found[f"events_handled_total{{{labels}}}"] = grows(number)
        for histogram in ("event_handler_seconds", "event_latency_seconds"):
            found[f"{histogram}_count{{{labels}}}"] = grows(number)
            for bound, share in (("0.01", 0 if worse else 1), ("0.05", 1), ("+Inf", 1)):
                found[f'{histogram}_bucket{{{labels},le="{bound}"}}'] = grows(number * share)
        found[f"event_lanes{{{labels}}}"] = f"{2 * factor}x10"
        found[f"event_lag{{{labels}}}"] = f"{100 if worse else 3 * factor}x10"
    return found


def grows(number: int) -> str:
    return f"0+{number}x10"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
@pytest.mark.parametrize(("bad", "rate"), [(False, 1000), (True, 1000), (True, 20)])
def test_a_query_exceeds_its_limit_for_a_bad_canary_alone(
    tmp_path: Path, query: Query, bad: bool, rate: int
) -> None:
    needs_no_traffic = query.name == "lag-per-lane"
    value = [{"labels": "{}", "value": int(bad)}] if rate > 100 or needs_no_traffic else []
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values}
            for name, values in series(query, bad=bad, rate=rate).items()
        ],
        "promql_expr_test": [
            {
                "expr": f"({query.promql}) > bool {query.most}",
                "eval_time": "5m",
                "exp_samples": value,
            }
        ],
    }
    content: dict[str, Any] = {"rule_files": [], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("queries", [of_flagger(), of_argo()], ids=["Flagger", "Argo Rollouts"])
def test_every_figure_of_events_has_a_query(queries: list[Query]) -> None:
    figures = [gate.name.replace(" ", "-") for gate in GATES if gate.metrics[0].startswith("event")]
    assert [query.name for query in queries] == figures
