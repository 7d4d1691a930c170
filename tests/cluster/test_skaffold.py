"""The real Skaffold on a cluster: built, rendered, run, verified, developed in, and deleted."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from cluster_node import Node
from cluster_volumes import volumes_for_the_platform

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

ROOT = find_workspace(Path(__file__)).root
SERVICES = [member.path.name for member in find_workspace(ROOT).services]
ENVIRONMENT = {
    "SKAFFOLD_DEFAULT_REPO": os.environ.get("REGISTRY", "localhost:5000"),
    "SKAFFOLD_UPDATE_CHECK": "false",
    # All services are waited for at once.
    "SKAFFOLD_ITERATIVE_STATUS_CHECK": "false",
}
# What every namespace has, whoever made it.
_EVERYWHERE = ("kube-root-ca.crt", "istio-ca-root-cert", "istio-ca-crl", "serviceaccount/default")


@pytest.fixture(scope="module", autouse=True)
def tools(cluster: None) -> None:
    missing = [tool for tool in ("skaffold", "docker", "make") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which Skaffold says what it has built, of the demo too."""
    file = tmp_path_factory.mktemp("skaffold") / "builds.json"
    skaffold("build", f"--file-output={file}")
    return file


@pytest.mark.parametrize("profile", ["development", "production", "kustomize"])
def test_every_profile_renders_every_service_with_the_image_that_was_built(
    builds: Path, tmp_path: Path, profile: str
) -> None:
    rendered = tmp_path / "rendered.yaml"
    tags = {
        build["imageName"]: build["tag"]
        for build in yaml.safe_load(builds.read_text(encoding="utf-8"))["builds"]
    }

    skaffold(
        *("render", "--profile", profile, "--namespace=shop", f"--build-artifacts={builds}"),
        f"--output={rendered}",
    )

    documents = [each for each in yaml.safe_load_all(rendered.read_text(encoding="utf-8")) if each]
    deployments = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in documents
        if each["kind"] == "Deployment"
    }
    assert deployments == {name: tags[f"slipway-{name}"] for name in SERVICES}
    databases = {each["metadata"]["name"] for each in documents if each["kind"] == "StatefulSet"}
    assert databases == (set() if profile == "production" else {"nats", "postgresql"})


def test_what_runs_keeps_its_data_and_every_law_and_is_deleted_without_a_trace(
    builds: Path, namespace: Namespace, node: Node
) -> None:
    where = (f"--namespace={namespace.name}", f"--build-artifacts={builds}")
    with volumes_for_the_platform(node, namespace):
        try:
            skaffold("deploy", *where, "--port-forward=off")
            skaffold("verify", *where)
            namespace.kubectl("delete", "pod", "nats-0", "postgresql-0")
            namespace.kubectl("rollout", "status", "statefulset/postgresql", "--timeout=120s")
            assert "1,000 orders before the replay" in skaffold("verify", *where)
        finally:
            skaffold("delete", f"--namespace={namespace.name}")
        namespace.kubectl("wait", "--for=delete", "pods", "--all", "--timeout=120s")
        namespace.kubectl(
            "wait", "--for=delete", "persistentvolumeclaims", "--all", "--timeout=120s"
        )

    kinds = namespace.kubectl(
        "api-resources", "--namespaced", "--verbs=list,delete", "--output=name"
    )
    asked = ",".join(
        kind for kind in kinds.split() if not kind.startswith(("events", "pods.metrics"))
    )
    found = namespace.kubectl("get", asked, "--output=name", "--ignore-not-found").split()
    assert [name for name in found if not name.endswith(_EVERYWHERE)] == []


def test_an_edited_handler_answers_in_the_pod(namespace: Namespace, tmp_path: Path) -> None:
    copy = tmp_path / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", ".slipway"))
    (copy / ".venv").symlink_to(ROOT / ".venv")
    handler = copy / "services/gateway/src/gateway/api.py"

    with developing(copy, namespace):
        pod = only_pod(namespace)
        before = handler.read_text(encoding="utf-8")
        began = time.monotonic()
        handler.write_text(
            before.replace("most items on a page", "at most so many"), encoding="utf-8"
        )
        until_answered(namespace, "at most so many")
        print(f"from save to answer: {time.monotonic() - began:.1f} s")

        # A mistake does not end what runs, and the next save is taken.
        handler.write_text(before + "\ndef (:\n", encoding="utf-8")
        handler.write_text(
            before.replace("most items on a page", "so many and no more"), encoding="utf-8"
        )
        until_answered(namespace, "so many and no more")
        assert only_pod(namespace) == pod


@contextmanager
def developing(folder: Path, namespace: Namespace) -> Iterator[None]:
    """`skaffold dev` of the gateway and what it calls; it deletes at the end."""
    log = folder / "dev.log"
    modules = "--module=gateway,inventory,orders"
    where = (f"--namespace={namespace.name}", "--port-forward=off", "--tail=false", modules)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            ["skaffold", "dev", *where],
            cwd=folder, env=os.environ | ENVIRONMENT, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 600
        while "Watching for changes" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(timeout=120)


def until_answered(namespace: Namespace, text: str) -> None:
    """Wait until the gateway's own description of itself has this text."""
    program = (
        "import sys, time, urllib.request\n"
        "for _ in range(1200):\n"
        "    try:\n"
        "        with urllib.request.urlopen('http://127.0.0.1:8080/openapi.json') as answer:\n"
        "            if sys.argv[1] in answer.read().decode(): break\n"
        "    except OSError: pass\n"
        "    time.sleep(0.1)\n"
        "else: sys.exit('never answered')\n"
    )
    command = ("exec", "deploy/gateway", "--container=app", "--", "python", "-c", program, text)
    namespace.kubectl(*command, seconds=180)


def only_pod(namespace: Namespace) -> str:
    (pod,) = namespace.pods("app=gateway")
    return pod.name


def skaffold(verb: str, *arguments: str) -> str:
    variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    file = f"--filename={ROOT}/skaffold.yaml"
    return run("env", *variables, "skaffold", verb, file, *arguments, seconds=1200)
