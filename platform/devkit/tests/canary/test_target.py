"""The release of a service: found in the cluster, and compared with the chart of the clone."""

from pathlib import Path

import pytest
from canary_cluster import FakeNamespace

from devkit.canary.target import Target, find_target
from devkit.errors import WrongUsage

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone whose chart of a service has the version 0.2.0."""
    chart = tmp_path / "deploy/helm/service"
    chart.mkdir(parents=True)
    (chart / "Chart.yaml").write_text("name: service\nversion: 0.2.0\n", encoding="utf-8")
    return tmp_path


def find(root: Path, installed: str) -> Target:
    return find_target(root, FakeNamespace(chart_version=installed), "orders")


def test_another_chart_than_that_of_the_release_is_named_with_both_versions(root: Path) -> None:
    change = find(root, "0.1.0").change_of_chart()
    assert change == (
        "shop was installed by the chart service 0.1.0, and this clone has 0.2.0: a change upgrades"
        " the other objects of the release, too"
    )


def test_the_chart_of_the_release_changes_nothing_else(root: Path) -> None:
    assert find(root, "0.2.0").change_of_chart() == ""


def test_a_service_that_is_not_there_is_refused_with_those_that_are(root: Path) -> None:
    with pytest.raises(WrongUsage, match="there are: orders"):
        find_target(root, FakeNamespace(), "payments")
