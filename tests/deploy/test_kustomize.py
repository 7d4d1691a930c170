"""Kustomize's overlay production agrees with the chart's values of production."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.cluster.tools import run

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.parent.name for path in ROOT.glob("services/*/deploy/facts.yaml"))
KUSTOMIZE = next((each for each in ("kustomize", "kubectl") if shutil.which(each)), "")

pytestmark = pytest.mark.skipif(not KUSTOMIZE, reason="kustomize is not on the PATH")

Document = dict[str, Any]


def read(path: Path) -> Document:
    found: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def overlay() -> list[Document]:
    command = ("kustomize", "build") if KUSTOMIZE == "kustomize" else ("kubectl", "kustomize")
    return list(yaml.safe_load_all(run(*command, str(ROOT / "deploy/k8s/overlays/production"))))


@pytest.fixture(scope="module")
def values() -> Document:
    return read(ROOT / "deploy/helm/environments/production.yaml")


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def reached(policy: Document, port: int) -> list[Document]:
    """Return the peers that the policy lets the service reach at that port."""
    rules = policy["spec"]["egress"]
    return [peer for rule in rules if {"port": port} in rule["ports"] for peer in rule["to"]]


@pytest.mark.parametrize("service", SERVICES)
def test_its_broker_and_its_database_are_admitted_by_the_policy_of_each_service(
    overlay: list[Document], values: Document, service: str
) -> None:
    policy = one(overlay, "NetworkPolicy", service)
    assert all(peer in reached(policy, 4222) for peer in values["nats"]["peers"])
    facts = read(ROOT / f"services/{service}/deploy/facts.yaml")["facts"]
    asked = [peer for peer in values["database"]["peers"] if peer in reached(policy, 5432)]
    assert asked == (values["database"]["peers"] if facts["database"] else [])


@pytest.mark.parametrize("service", SERVICES)
def test_it_runs_the_same_number_of_replicas_with_the_same_requests(
    overlay: list[Document], values: Document, service: str
) -> None:
    spec = one(overlay, "Deployment", service)["spec"]
    assert spec["replicas"] == values["replicas"]
    (app,) = spec["template"]["spec"]["containers"]
    assert app["resources"]["requests"]["cpu"] == values["resources"]["requests"]["cpu"]


def test_it_names_the_same_broker_with_the_same_number_of_copies(
    overlay: list[Document], values: Document
) -> None:
    (settings,) = [each["data"] for each in overlay if each["kind"] == "ConfigMap"]
    assert settings["APP_NATS_URL"] == values["nats"]["url"]
    assert settings["APP_STREAM_REPLICAS"] == str(values["settings"]["APP_STREAM_REPLICAS"])
