"""Every check of `slipway doctor --cluster` fails once, on given answers of kubectl or a tool."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devkit.deployment_doctor import cluster, tools
from devkit.deployment_doctor.cluster import Cluster
from devkit.deployment_doctor.examination import ways_to_deploy
from devkit.deployment_doctor.workloads import read_workloads
from devkit.doctor import Finding
from localservers import free_port

HELM = next(tool for tool in tools.TOOLS if tool.name == "helm")
NO_CLUSTER = Cluster(frozenset(), ())


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def test_a_missing_tool_is_named_with_the_place_to_get_it(only_path: Path) -> None:
    finding = tools.check_tool(HELM)

    assert finding.found == "helm is not on the PATH"
    assert finding.advice == "https://helm.sh/docs/intro/install"


@pytest.mark.parametrize(
    ("printed", "well"),
    [("v3.19.4+g7cfb6e4", False), ("v3.20.0", True), ("v4.0.1", True), ("v0.9.9", False)],
)
def test_a_tool_that_is_too_old_is_wrong(only_path: Path, printed: str, well: bool) -> None:
    program(only_path, "helm", f"echo {printed}")

    finding = tools.check_tool(HELM)

    assert finding.found == printed
    assert finding.ok == well
    assert well or "3.20 or newer" in finding.advice


def test_a_tool_that_names_no_version_is_not_refused(only_path: Path) -> None:
    program(only_path, "helm", "echo")

    finding = tools.check_tool(HELM)

    assert finding.ok
    assert finding.found == "it names no version; assuming 3.20 or newer"


def test_a_tool_that_fails_says_why(only_path: Path) -> None:
    program(only_path, "helm", "echo first >&2; echo 'no engine here' >&2; exit 3")

    finding = tools.check_tool(HELM)

    assert finding.found == "no engine here"
    assert not finding.ok


def test_nodes_that_are_not_ready_are_wrong() -> None:
    listed = {"items": [thing("one", Ready="False"), thing("two", Ready="Unknown")]}

    assert cluster.nodes(listed).found == "0 of 2 ready"
    assert "describe nodes" in cluster.nodes(listed).advice
    assert cluster.nodes({"items": [*listed["items"], thing("three", Ready="True")]}).ok


def test_a_cluster_without_a_default_storage_class_is_told_how_to_get_one() -> None:
    chosen = thing("fast")
    chosen["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}

    finding = cluster.storage({"items": [thing("slow")]})

    assert finding.found == "no default class among slow"
    assert "kubectl annotate storageclass slow" in finding.advice
    assert cluster.storage({"items": []}).found == "no class"
    assert cluster.storage({"items": [thing("slow"), chosen]}).found == "the default class is fast"


def test_volumes_that_only_root_may_write_to_are_named() -> None:
    chosen = thing("standard") | {"provisioner": "kubernetes.io/host-path"}
    chosen["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}

    finding = cluster.storage({"items": [chosen]})

    assert finding.found == "the default class is standard: only root can write to it"
    assert "--profile without-volumes" in finding.advice


@pytest.mark.parametrize("context", ["kind-shop", "minikube", "k3d-shop"])
def test_local_clusters_need_no_registry_and_others_do(context: str) -> None:
    assert cluster.registry(context, {}).ok
    assert "SKAFFOLD_DEFAULT_REPO" in cluster.registry("cloud", {}).advice
    assert cluster.registry("cloud", {"SKAFFOLD_DEFAULT_REPO": "registry.example/me"}).ok


def test_metrics_that_are_not_available_are_noted() -> None:
    name = "v1beta1.metrics.k8s.io"

    assert not cluster.metrics({"items": [thing(name, Available="False")]}).ok
    assert not cluster.metrics({"items": [thing("v1.apps", Available="True")]}).ok
    assert cluster.metrics({"items": [thing(name, Available="True")]}).ok


def test_a_gateway_api_without_an_accepted_class_is_noted() -> None:
    installed = Cluster(frozenset({"httproutes.gateway.networking.k8s.io"}), ())
    classes = {"items": [thing("waiting", Accepted="Unknown")]}

    assert cluster.gateway_api(NO_CLUSTER, {"items": []}).found == "not installed"
    assert "no GatewayClass" in cluster.gateway_api(installed, classes).found
    classes["items"].append(thing("istio", Accepted="True"))
    assert cluster.gateway_api(installed, classes).found == "GatewayClass istio"


def test_istio_needs_a_ready_istiod() -> None:
    definitions = frozenset({"authorizationpolicies.security.istio.io"})
    down = workload("Deployment", "istiod", "registry.example/pilot:1.30", ready=0, app="istiod")
    up = workload("Deployment", "istiod", "registry.example/pilot:1.30", ready=1, app="istiod")

    assert cluster.istio(NO_CLUSTER).found == "not installed"
    assert "istiod is not" in cluster.istio(Cluster(definitions, ())).found
    assert "not ready" in cluster.istio(holding(definitions, down)).found
    assert cluster.istio(holding(definitions, down, up)).found == "system/istiod is ready"


def test_sidecars_take_the_restricted_level_from_a_namespace_without_istio_cni() -> None:
    istiod = workload("Deployment", "istiod", "pilot", ready=1, app="istiod")
    labels = {"k8s-app": "istio-cni-node"}
    cni = workload("DaemonSet", "istio-cni-node", "registry.example/cni:1", ready=1, **labels)

    assert cluster.pod_security(NO_CLUSTER).ok
    assert "NET_ADMIN" in cluster.pod_security(holding(frozenset(), istiod)).found
    assert cluster.pod_security(holding(frozenset(), istiod, cni)).ok


def test_an_operator_is_its_definitions_and_its_controllers() -> None:
    definitions = ("a.example", "b.example")
    controller = workload("Deployment", "runs", "registry.example:5000/x/ctl@sha256:00", ready=1)
    stuck = workload("StatefulSet", "stuck", "registry.example/x/ctl:v1.0", ready=0)

    def found(known: tuple[str, ...], *items: dict[str, Any]) -> Finding:
        inside = holding(frozenset(known), *items)
        return cluster.operator(inside, "it", definitions, ("ctl",), "get it")

    assert found(()).found == "not installed"
    assert found(("a.example",)).found == "no b.example"
    assert found(definitions).found == "its definitions are installed, but ctl does not run"
    assert "kubectl -n system" in found(definitions, stuck).advice
    assert found(definitions, stuck, controller).ok


def test_each_way_to_deploy_names_what_it_lacks() -> None:
    findings = [
        Finding("docker", "28"),
        Finding("compose", "missing", "get it"),
        Finding("kubectl", "1.36"),
        Finding("helm", "4"),
        Finding("keda", "not installed", "get it", needed=False),
    ]

    missing = {way.name: way.missing for way in ways_to_deploy(findings)}

    assert missing["compose"] == ("compose",)
    assert missing["helm"] == ()
    assert missing["scaling by events"] == ("keda",)


@pytest.mark.parametrize("need", ["storage", "registry"])
def test_ways_that_bring_broker_and_database_say_the_same_of(need: str) -> None:
    ways = ways_to_deploy([Finding(need, "none", "name one", needed=False)])

    missing = {way.name: way.missing for way in ways}

    assert {missing[name] for name in ("skaffold", "helm", "kustomize")} == {(need,)}


def test_without_kubectl_nothing_is_asked_and_the_command_fails(tmp_path: Path) -> None:
    shown = doctor({"PATH": str(tmp_path)})

    assert "wrong  kubectl    kubectl is not on the PATH" in shown.stdout
    assert "wrong  cluster    not checked" in shown.stdout
    assert shown.stdout.split("to deploy by")[1].split()[:3] == ["compose", "missing:", "docker,"]
    assert (shown.returncode, shown.stderr) == (1, "")


def test_a_cluster_that_does_not_answer_is_wrong(tmp_path: Path) -> None:
    refused = f"connection to 127.0.0.1:{free_port()} was refused"
    program(
        tmp_path,
        "kubectl",
        'case "$*" in\n'
        '  *--client*) echo \'{"clientVersion": {"gitVersion": "v1.36.3"}}\' ;;\n'
        "  *current-context*) echo shop ;;\n"
        f"  *) echo '{refused}' >&2; exit 1 ;;\n"
        "esac",
    )

    shown = doctor({"PATH": str(tmp_path)})

    assert f"shop: {refused}" in shown.stdout
    assert "-> set KUBECONFIG" in shown.stdout
    assert (shown.returncode, shown.stderr) == (1, "")


def thing(name: str, **conditions: str) -> dict[str, Any]:
    states = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {"metadata": {"name": name}, "status": {"conditions": states}}


def workload(kind: str, name: str, image: str, *, ready: int, **labels: str) -> dict[str, Any]:
    counts = (
        {"desiredNumberScheduled": 1, "numberReady": ready}
        if kind == "DaemonSet"
        else {"readyReplicas": ready}
    )
    containers = {"spec": {"containers": [{"image": image}]}}
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "system", "labels": labels},
        "spec": {"replicas": 1, "template": containers},
        "status": counts,
    }


def holding(definitions: frozenset[str], *items: dict[str, Any]) -> Cluster:
    return Cluster(definitions, read_workloads({"items": items}))


def doctor(variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "devkit", "doctor", "--cluster"],
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )
