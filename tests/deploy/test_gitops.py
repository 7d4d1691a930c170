"""Argo CD and Flux take production's values from the same files, in the same order."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import HELMS, Charts, env_of

ROOT = Path(__file__).parents[2]
GITOPS = ROOT / "deploy/gitops"
CHART = ROOT / "deploy/helm/service"


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GITOPS / file).read_text(encoding="utf-8")))


def files_of_argo_cd() -> dict[str, list[str]]:
    """Return the files of values by release, as a repository names them."""
    (application,) = documents("argocd/production/application.yaml")
    releases = [source["helm"] for source in application["spec"]["sources"]]
    assert all(each["ignoreMissingValueFiles"] for each in releases)
    return {
        each["releaseName"]: [file.removeprefix("/") for file in each["valueFiles"]]
        for each in releases
    }


def files_of_flux() -> dict[str, list[str]]:
    """Return the same for Flux, without the chart's own file, which Flux must be told."""
    found = {}
    for release in documents("flux/production/releases/services.yaml"):
        spec = release["spec"]["chart"]["spec"]
        assert spec["ignoreMissingValuesFiles"]
        own, *found[release["metadata"]["name"]] = spec["valuesFiles"]
        assert own == "deploy/helm/service/values.yaml"
    return found


@pytest.mark.unit
def test_both_read_the_same_files_in_the_same_order() -> None:
    assert files_of_argo_cd() == files_of_flux()


@pytest.mark.skipif(not HELMS, reason="helm is not on the PATH")
def test_what_an_environment_and_a_service_say_for_themselves_wins(tmp_path: Path) -> None:
    *common, environment, own = files_of_flux()["orders"]
    assert (environment, own) == (
        "deploy/gitops/versions/production.yaml",
        "deploy/gitops/versions/production/orders.yaml",
    )
    switched_off = tmp_path / "production.yaml"
    text = (ROOT / environment).read_text(encoding="utf-8")
    switched_off.write_text(f"{text}autoscaling: {{kind: hpa}}\n", encoding="utf-8")
    alone = tmp_path / "orders.yaml"
    alone.write_text("image: {tag: 1.2.1}\n", encoding="utf-8")
    files = [ROOT / file for file in common if (ROOT / file).exists()] + [switched_off, alone]
    values = (f"--values={file}" for file in files)
    text = Charts(CHART).run("template", "orders", str(CHART), *values)
    rendered = [each for each in yaml.safe_load_all(text) if each]
    kinds = {each["kind"] for each in rendered}
    assert "HorizontalPodAutoscaler" in kinds
    assert "ScaledObject" not in kinds
    (deployment,) = [each for each in rendered if each["kind"] == "Deployment"]
    (app,) = deployment["spec"]["template"]["spec"]["containers"]
    assert app["image"] == "registry.example.com/platform/slipway-orders:1.2.1"
    assert env_of(app)["APP_VERSION"] == "1.2.1"
