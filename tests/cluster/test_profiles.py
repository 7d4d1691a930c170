"""Each profile can be applied, changed and reverted without conflicts or differences."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from definitions import definitions, why_not_to_be_had

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WORKSPACE = find_workspace(Path(__file__))
DEPLOY = WORKSPACE.root / "deploy"
SERVICES = [member.path.name for member in WORKSPACE.services]
ENVIRONMENTS = ("development", "production")
GITOPS = [
    f"gitops/{folder}"
    for environment in ENVIRONMENTS
    for folder in (f"argocd/{environment}", f"flux/{environment}", f"flux/{environment}/releases")
]


@pytest.fixture(scope="module", autouse=True)
def operators(cluster: None) -> Iterator[None]:
    """Every kind of every profile is known to the API server."""
    if reason := why_not_to_be_had():
        pytest.skip(reason)
    with definitions():
        yield


@pytest.mark.parametrize("folder", [f"k8s/overlays/{each}" for each in ENVIRONMENTS] + GITOPS)
def test_what_kustomize_builds_is_taken_changed_and_taken_back(
    namespace: Namespace, folder: str
) -> None:
    before = built(folder, namespace)
    after = [changed(each) for each in before]

    for objects in (before, after, before):
        server_side(namespace, objects, "apply", "--validate=strict")

    assert server_side(namespace, before, "diff") == ""


def test_the_database_of_production_is_taken_changed_and_taken_back(namespace: Namespace) -> None:
    text = (DEPLOY / "helm/production/postgresql.yaml").read_text(encoding="utf-8")
    before = list(yaml.safe_load_all(text))
    after = [changed(each) for each in before]

    for objects in (before, after, before):
        server_side(namespace, objects, "apply", "--validate=strict")

    assert server_side(namespace, before, "diff") == ""


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("scaler", ["hpa", "keda"])
def test_a_release_with_everything_on_is_upgraded_and_rolled_back(
    make_namespace: Callable[..., Namespace], service: str, scaler: str
) -> None:
    namespace = make_namespace("privileged")
    folder = WORKSPACE.root / "services" / service / "deploy"
    chart = str(DEPLOY / "helm/service")
    files = [
        folder / "facts.yaml",
        folder / "values.yaml",
        DEPLOY / "helm/environments/production.yaml",
    ]
    options = [f"--values={file}" for file in files]
    canary = "canary.image.tag=three,canary.weight=10"
    options += [f"--set=autoscaling.kind={scaler},{canary}", "--no-hooks"]

    namespace.helm("install", service, chart, *options, "--set=image.tag=one")
    namespace.helm("upgrade", service, chart, *options, "--set=image.tag=two")
    namespace.helm("rollback", service, "--no-hooks")

    manifest = namespace.helm("get", "manifest", service)
    assert ":one" in manifest
    objects = [each for each in yaml.safe_load_all(manifest) if each]
    marks = {"release-name": service, "release-namespace": namespace.name}
    for each in objects:
        # Helm adds these itself.
        annotations = each["metadata"].setdefault("annotations", {})
        annotations |= {f"meta.helm.sh/{mark}": value for mark, value in marks.items()}
    assert server_side(namespace, objects, "diff", "--field-manager=helm") == ""


@pytest.mark.parametrize("overlay", ENVIRONMENTS)
def test_istioctl_finds_nothing_to_say(namespace: Namespace, overlay: str) -> None:
    if shutil.which("istioctl") is None:
        pytest.skip("istioctl is not on the PATH")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(built(f"k8s/overlays/{overlay}", namespace), file)
        file.flush()
        # A finding of any severity is a failure.
        run("istioctl", "analyze", "--use-kube=false", "--failure-threshold=Info", file.name)


def built(folder: str, namespace: Namespace) -> list[dict[str, Any]]:
    """Return the objects that Kustomize builds from a folder, moved into the test's namespace."""
    documents = yaml.safe_load_all(run("kubectl", "kustomize", str(DEPLOY / folder)))
    objects = [each for each in documents if each["kind"] != "Namespace"]
    for each in objects:
        each["metadata"]["namespace"] = namespace.name
        # No controller is installed that would remove the finalizer.
        each["metadata"].pop("finalizers", None)
    return objects


def changed(thing: dict[str, Any]) -> dict[str, Any]:
    """Return the object as of another release: with other images and one more label."""
    text = json.dumps(thing).replace(":dev", ":next").replace(":0.1.0", ":0.2.0")
    other: dict[str, Any] = json.loads(text)
    other["metadata"].setdefault("labels", {})["release"] = "next"
    return other


def server_side(
    namespace: Namespace, objects: list[dict[str, Any]], verb: str, *options: str
) -> str:
    """Run kubectl on these objects as Argo CD and Flux do, and return its output."""
    items = {"apiVersion": "v1", "kind": "List", "items": objects}
    return namespace.kubectl(
        verb, "--server-side", *options, "--filename=-", input=json.dumps(items)
    )
