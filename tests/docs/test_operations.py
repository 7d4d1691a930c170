"""docs/operations.md explains every metric and exit code, and names settings that exist."""

import re
from pathlib import Path

import pytest
from prometheus_client import Metric

from chassis import exit_codes
from chassis.settings import ServiceSettings
from chassis.telemetry import metrics

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_metric_of_a_service_is_explained_with_an_alert() -> None:
    told: set[str] = set()
    for name in metrics.__all__:
        collector = getattr(metrics, name)
        if not isinstance(collector, type):
            told.update(map(_full_name, collector.describe()))
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \| ([^|]+) \|$", TEXT, re.M)
    explained = [name for name, _, _ in rows]
    assert sorted(explained) == sorted(told)


def _full_name(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


def test_every_exit_code_is_explained() -> None:
    explained = {int(code) for code in re.findall(r"^\| (\d+) \| ", TEXT, re.M)}
    codes = {getattr(exit_codes, name) for name in exit_codes.__all__}
    # No command of a service ends with SOFTWARE.
    assert explained == codes - {exit_codes.SOFTWARE}


def test_every_setting_that_it_names_exists() -> None:
    settings = {f"APP_{name.upper()}" for name in ServiceSettings.model_fields}
    named = set(re.findall(r"\bAPP_[A-Z_]+[A-Z]\b", TEXT))
    assert len(named) > 20
    assert sorted(named - settings) == []


def test_every_section_of_at_night_with_commands_has_a_test() -> None:
    night = TEXT.partition("## At night")[2]
    tests = (ROOT / "tests/docs/test_night.py").read_text(encoding="utf-8")
    sections = re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", night, re.M | re.S)
    with_commands = [name for name, text in sections if "\n    python -m " in text]
    assert len(with_commands) >= 7
    assert [name for name in with_commands if f'"{name}"' not in tests] == []
