"""Skaffold deploys the charts with the values of development only."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.workspace import find_workspace

WORKSPACE = find_workspace(Path(__file__))
SERVICES = [member.path.name for member in WORKSPACE.services]


def configuration(file: str) -> Any:
    return yaml.safe_load((WORKSPACE.root / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_given_the_values_of_development_and_its_image(service: str) -> None:
    (release,) = configuration(f"services/{service}/deploy/skaffold.yaml")["deploy"]["helm"][
        "releases"
    ]
    assert [Path(file).name for file in release["valuesFiles"]] == [
        "facts.yaml",
        "values.yaml",
        "development.yaml",
    ]
    assert list(release["setValueTemplates"]) == ["image.reference"]
    assert "setValues" not in release


def test_broker_and_database_are_the_umbrella_of_development_without_its_services() -> None:
    (release,) = configuration("deploy/skaffold.yaml")["deploy"]["helm"]["releases"]
    assert release["valuesFiles"] == ["helm/slipway/values-development.yaml"]
    assert release["setValues"] == {f"{service}.enabled": False for service in SERVICES}


def test_the_laws_bring_along_what_admits_them() -> None:
    laws = configuration("demo/deploy/skaffold.yaml")
    (file,) = laws["manifests"]["rawYaml"]
    policy = configuration(f"demo/deploy/{file}")
    job = configuration("demo/deploy/job.yaml")
    labels = job["spec"]["template"]["metadata"]["labels"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]
