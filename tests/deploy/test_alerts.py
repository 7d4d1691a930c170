"""Each alert fires only when it should, links to its runbook, and uses existing metrics."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from chassis.events.wire.lanes import LANES

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/helm/service/files/alerts.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"]
}


@dataclass
class Case:
    """Series with which an alert fires at `minutes`, and similar series with which it does not."""

    calls: dict[str, str]
    silent: dict[str, str]
    minutes: int = 3


A, B = 'job="orders",instance="a"', 'job="orders",instance="b"'
STEP = 60
"""Seconds between two values of a series."""


def gauge(name: str, calls: str, silent: str, minutes: int = 3, **more: str) -> Case:
    """Return a case with two replicas that have the same value."""
    labels = "".join(f',{key}="{value}"' for key, value in more.items())
    series = f"{name}{{{A}{labels}}}", f"{name}{{{B}{labels}}}"
    return Case(dict.fromkeys(series, calls), dict.fromkeys(series, silent), minutes)


def handled(rate: int) -> dict[str, str]:
    return {f'events_handled_total{{{A},type="t"}}': f"0+{rate * STEP}x60"}


CASES = {
    "DeadLetters": gauge("event_dead_letters", "1x60", "0x60"),
    "EventLag": Case(
        {f"event_lag{{{A}}}": "90x60", f"event_lag{{{B}}}": "40x60", **handled(2)},
        {f"event_lag{{{A}}}": "70x60", f"event_lag{{{B}}}": "40x60", **handled(2)},
        minutes=20,
    ),
    "LaneStopped": gauge("event_lanes_stopped", "1x60", "0x60"),
    "LanesUnread": gauge("event_lanes", f"{LANES // 2 - 1}x60", f"{LANES // 2}x60"),
    "TasksGrow": Case(
        {f'event_tasks{{{A},state="waiting"}}': "1+1x60"},
        {f'event_tasks{{{A},state="waiting"}}': "60-1x60"},
        minutes=30,
    ),
    "TypesPaused": gauge("event_types_paused", "1x90", "1x30 0x60", minutes=65),
    "EventsFail": Case(
        {f'events_failed_total{{{A},type="t"}}': "0+6x60", **handled(5)},
        {f'events_failed_total{{{A},type="t"}}': "0+2x60", **handled(5)},
        minutes=20,
    ),
    "EventsLost": Case(
        {f'events_lost_total{{{A},type="t"}}': "0x5 1x60"},
        {f'events_lost_total{{{A},type="t"}}': "1x60"},
        minutes=8,
    ),
    "HandlerSlow": Case(
        {
            f'event_handler_seconds_bucket{{{A},type="t",le="1"}}': "0+90x60",
            f'event_handler_seconds_bucket{{{A},type="t",le="2.5"}}': "0+100x60",
            f'event_handler_seconds_bucket{{{A},type="t",le="+Inf"}}': "0+100x60",
        },
        {
            f'event_handler_seconds_bucket{{{A},type="t",le="1"}}': "0+100x60",
            f'event_handler_seconds_bucket{{{A},type="t",le="2.5"}}': "0+100x60",
            f'event_handler_seconds_bucket{{{A},type="t",le="+Inf"}}': "0+100x60",
        },
        minutes=25,
    ),
    # The clock of these tests begins at 0.
    "GaugesNotMeasured": gauge(
        "event_measured_timestamp_seconds", "0x60", f"0+{STEP}x60", minutes=5, gauge="event_lag"
    ),
    "EventsUnsent": gauge("outbox_oldest_seconds", "61x60", "59x60"),
    "EventsRefused": gauge("outbox_refused", "1x60", "0x60"),
    "ReplicaDown": Case(
        {f"up{{{A}}}": "0x60", f"transaction_longest_seconds{{{A}}}": "0x5 _x60"},
        {'up{job="a-stranger",instance="a"}': "0x60", f"transaction_longest_seconds{{{A}}}": "0x5"},
        minutes=15,
    ),
    "OtherDatabase": gauge("event_database_refused", "1x60", "0x60"),
    "TransactionStuck": gauge("transaction_longest_seconds", "31x60", "29x60"),
    "GrpcErrors": Case(
        {
            f'grpc_server_handled_total{{{A},method="m",code="OK"}}': "0+600x60",
            f'grpc_server_handled_total{{{A},method="m",code="UNAVAILABLE"}}': "0+12x60",
        },
        {
            f'grpc_server_handled_total{{{A},method="m",code="OK"}}': "0+600x60",
            f'grpc_server_handled_total{{{A},method="m",code="NOT_FOUND"}}': "0+12x60",
        },
        minutes=20,
    ),
    "HttpErrors": Case(
        {
            f'http_requests_total{{{A},status="202"}}': "0+600x60",
            f'http_requests_total{{{A},status="503"}}': "0+12x60",
        },
        {
            f'http_requests_total{{{A},status="202"}}': "0+600x60",
            f'http_requests_total{{{A},status="422"}}': "0+12x60",
        },
        minutes=20,
    ),
    "RequestsRefused": Case(
        {f'requests_refused_total{{{A},what="HTTP requests"}}': "0+60x60"},
        {f'requests_refused_total{{{A},what="HTTP requests"}}': "60x60"},
        minutes=10,
    ),
    "LogLinesDropped": Case(
        {f"log_lines_dropped_total{{{A}}}": "0x5 9x60"},
        {f"log_lines_dropped_total{{{A}}}": "9x60"},
        minutes=8,
    ),
}


def test_every_alert_has_a_case() -> None:
    assert sorted(CASES) == sorted(ALERTS)


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool on the PATH")
@pytest.mark.parametrize("calls", [True, False], ids=["calls", "is silent"])
@pytest.mark.parametrize("alert", sorted(CASES))
def test_it(tmp_path: Path, alert: str, calls: bool) -> None:
    """Each alert is tested in a file of its own, because promtool compares all alerts that fire."""
    case = CASES[alert]
    rule = {key: ALERTS[alert][key] for key in ("alert", "expr", "for") if key in ALERTS[alert]}
    write(tmp_path / "alerts.yaml", {"groups": [{"name": "one", "rules": [rule]}]})
    series = case.calls if calls else case.silent
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > 0'
    write(
        tmp_path / "test.yaml",
        {
            "rule_files": ["alerts.yaml"],
            "evaluation_interval": "15s",
            "tests": [
                {
                    "interval": f"{STEP}s",
                    "input_series": [{"series": s, "values": v} for s, v in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f"({expression}) * 0 + 1",
                            "eval_time": f"{case.minutes}m",
                            "exp_samples": [{"labels": "{}", "value": 1}] if calls else [],
                        }
                    ],
                }
            ],
        },
    )
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_its_runbook_is_a_section_of_the_operators_page(alert: str) -> None:
    page, _, section = ALERTS[alert]["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = [
        heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)
    ]
    assert section in headings


def write(file: Path, content: object) -> None:
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
