"""The values that `slipway canary` sets and writes render the canary that it means."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import HELMS, ROOT, Charts

from devkit.canary.image import Image
from devkit.canary.release import promoted_values, started_values, without_canary
from devkit.canary.values_file import ValuesFile

pytestmark = pytest.mark.skipif(not HELMS, reason="helm is not on the PATH")

Document = dict[str, Any]
CANARY = Image(tag="v2")


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


def sets(values: Mapping[str, str | int], below: str = "") -> tuple[str, ...]:
    return tuple(
        f"{below}{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in values.items()
    )


def images(documents: list[Document]) -> dict[str, str]:
    """The images of orders' Deployments, by their names."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in documents
        if each["kind"] == "Deployment" and each["metadata"]["name"].startswith("orders")
    }


def weight(documents: list[Document]) -> str | None:
    """The weight of orders' canary in its ConfigMap; None without one."""
    found = [
        each["data"]["weight"]
        for each in documents
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "orders-canary"
    ]
    return found[0] if found else None


@pytest.mark.parametrize("umbrella", [False, True])
def test_a_canary_is_set_promoted_and_emptied(charts: Charts, umbrella: bool) -> None:
    def rendered(*values: Mapping[str, str | int]) -> list[Document]:
        given = [each for one in values for each in sets(one, "orders." if umbrella else "")]
        if umbrella:
            return charts.umbrella("development", "global.image.tag=v1", *given)
        return charts.service("orders", "development", "image.tag=v1", *given)

    weighted = (started_values(CANARY), {"canary.weight": 25})
    started = rendered(*weighted)
    promoted = rendered(*weighted, promoted_values(CANARY))
    ended = rendered(*weighted, promoted_values(CANARY), without_canary())
    assert [images(each) for each in (started, promoted, ended)] == [
        {"orders": "slipway-orders:v1", "orders-canary": "slipway-orders:v2"},
        {"orders": "slipway-orders:v2", "orders-canary": "slipway-orders:v2"},
        {"orders": "slipway-orders:v2"},
    ]
    assert [weight(each) for each in (started, promoted, ended)] == ["25", "25", None]


def test_a_canary_with_a_digest_is_promoted_with_it(charts: Charts) -> None:
    image = Image(digest="sha256:" + "a" * 64)
    values = {**started_values(image), **promoted_values(image)}
    found = images(charts.service("orders", "development", "image.tag=v1", *sets(values)))
    assert set(found.values()) == {f"slipway-orders@{image.digest}"}


def test_a_written_file_renders_the_canary(charts: Charts, tmp_path: Path) -> None:
    file = tmp_path / "development.yaml"
    versions = ROOT / "deploy/gitops/versions/development.yaml"
    file.write_text(versions.read_text(encoding="utf-8"), encoding="utf-8")
    for _ in range(2):
        ValuesFile(file, "orders").start("0.2.0", 10)

    text = charts.run(
        *("template", "all", str(charts.folder / "slipway"), "--kube-version=1.33.0"),
        *("--values", str(charts.folder / "slipway/values-development.yaml")),
        *("--values", str(file)),
    )
    documents = [each for each in yaml.safe_load_all(text) if each]
    registry = "registry.example.com/platform"
    assert images(documents) == {
        "orders": f"{registry}/slipway-orders:0.1.0",
        "orders-canary": f"{registry}/slipway-orders:0.2.0",
    }
    assert weight(documents) == "10"
