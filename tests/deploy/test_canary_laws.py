"""The laws in the services' values can be read, and compare metrics that the services report."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from devkit.canary.analysis import metric_names
from devkit.canary.analysis.increase import START_TIME
from devkit.canary.analysis.laws import read_laws

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def laws() -> dict[str, list[dict[str, Any]]]:
    """Return the laws of each service that has any."""
    found = {}
    for file in sorted(ROOT.glob("services/*/deploy/values.yaml")):
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if own := values.get("canary", {}).get("laws"):
            found[file.parents[1].name] = own
    return found


def test_a_service_that_publishes_amounts_has_a_law() -> None:
    assert "payments" in laws()


@pytest.mark.parametrize("service", laws())
def test_the_metrics_of_its_laws_are_reported_by_the_service(service: str) -> None:
    import_module(f"{service}.service")
    page = generate_latest().decode()
    names = metric_names(read_laws(laws()[service])) - {START_TIME.name}
    assert [name for name in sorted(names) if f"\n{name}{{" not in page] == []
