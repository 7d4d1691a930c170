"""Events follow the weight that Flagger and Argo Rollouts write, and both take our templates.

The kinds of both tools must be installed in the cluster, as docs/canary.md says. Their controllers
need not run: a test writes the weight as they do.
"""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from charts import ROOT
from cluster_customers import Customers
from cluster_gauges import LANES_OF_ORDERS, gauge, until

from demo.cluster.shop import ClusterShop
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

KINDS = {"canaries.flagger.app", "metrictemplates.flagger.app"} | {
    f"{kind}.argoproj.io" for kind in ("rollouts", "analysistemplates")
}
LABEL = "slipway/version-of"
_STEPS = (("Initialized", 0), ("Progressing", 10), ("Progressing", 50), ("Finalising", 0))
REFERENCE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"}


@pytest.fixture(scope="module", autouse=True)
def kinds(cluster: None) -> None:
    """Skip of the tests without the kinds of both tools."""
    there = run("kubectl", "get", "crd", "--output=name")
    if missing := sorted(kind for kind in KINDS if kind not in there):
        pytest.skip(f"the cluster does not have {', '.join(missing)}")


@pytest.fixture(scope="module")
def values() -> Mapping[str, Any]:
    return {"orders": {"canary": {"follows": "flagger"}}}


@contextmanager
def following(namespace: Namespace, service: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `slipway canary follow` meanwhile; it must end well by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "devkit", "canary", "follow", service, "-n", namespace.name],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        print(output)
    assert process.returncode == 130
    assert "events keep the last weight" in output


def test_the_api_server_accepts_the_templates_for_both_tools(namespace: Namespace) -> None:
    options = ("--server-side", "--validate=strict", f"--filename={ROOT / 'deploy/canary'}")
    applied = namespace.kubectl("apply", *options)
    assert applied.count("serverside-applied") == applied.count("\n") > 6
    named = namespace.kubectl("get", "metrictemplates.flagger.app", "--output=name").split()
    analysis = namespace.read("analysistemplates.argoproj.io/events")
    metrics = [each["name"] for each in analysis["spec"]["metrics"]]
    assert [name.rpartition("/")[2] for name in named] == sorted(metrics)


def flaggers_canary() -> dict[str, Any]:
    service, analysis = {"port": 8081}, {"interval": "1m", "threshold": 5, "stepWeight": 10}
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "orders"},
        "spec": {"targetRef": REFERENCE, "service": service, "analysis": analysis},
    }


def flagger_says(namespace: Namespace, phase: str, weight: int) -> None:
    """Write a Canary's status as Flagger does."""
    status = {"phase": phase, "canaryWeight": weight, "failedChecks": 0, "iterations": 0}
    patch = json.dumps({"status": status})
    options = ("--type=merge", "--subresource=status", f"--patch={patch}")
    namespace.kubectl("patch", "canaries.flagger.app/orders", *options)


def primary_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the copy of a Deployment that Flagger makes for its stable version."""
    spec = copy.deepcopy(dict(deployment["spec"]))
    name = f"{deployment['metadata']['name']}-primary"
    for labels in (spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]):
        labels[LABEL] = name
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    return {**made, "spec": spec}


def until_lanes_are(shop: ClusterShop, target: float, primary: float) -> None:
    """Wait until the pods of Flagger's target and of its primary read these numbers of lanes."""
    names = ("orders", "orders-primary")
    until(
        lambda: [gauge(shop, "orders", name, "event_lanes") for name in names] == [target, primary]
    )


def test_lanes_follow_the_weight_that_flagger_writes(
    shop: ClusterShop, customers: Customers
) -> None:
    namespace = shop.namespace
    namespace.apply(flaggers_canary())
    with following(namespace, "orders"):
        until(lambda: gauge(shop, "orders", "orders", "event_lanes") == LANES_OF_ORDERS)
        with customers.ordering() as seen:
            namespace.apply(primary_of(namespace.read("deployment/orders")))
            namespace.wait_rolled_out(["orders-primary"])
            for phase, weight in _STEPS:
                flagger_says(namespace, phase, weight)
                began = time.monotonic()
                own = LANES_OF_ORDERS * weight / 100
                until_lanes_are(shop, own, LANES_OF_ORDERS - own)
                print(f"{phase} {weight}: lanes followed after {time.monotonic() - began:.1f} s")
            # Flagger leaves: the target becomes the stable version again.
            flagger_says(namespace, "Terminating", 0)
            until(lambda: bool(gauge(shop, "orders", "orders", "event_lanes")))
            namespace.kubectl("delete", "deployment/orders-primary")
            until(lambda: gauge(shop, "orders", "orders", "event_lanes") == LANES_OF_ORDERS)
    assert seen.placed > 0
    assert (seen.failed, seen.broken) == ({}, {})


def argos_rollout() -> dict[str, Any]:
    canary = {
        "canaryService": "orders-canary",
        "stableService": "orders",
        "trafficRouting": {"istio": {"virtualService": {"name": "orders"}}},
        "steps": [{"setWeight": 10}, {"pause": {}}],
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "orders"},
        "spec": {"workloadRef": REFERENCE, "strategy": {"canary": canary}},
    }


def argo_says(namespace: Namespace, stable: str, current: str, weight: int) -> None:
    """Write a Rollout's status as Argo Rollouts does at a step."""
    of_canary = {"weight": weight, "serviceName": "orders-canary", "podTemplateHash": current}
    of_stable = {"weight": 100 - weight, "serviceName": "orders", "podTemplateHash": stable}
    weights = {"canary": of_canary, "stable": of_stable}
    status = {"stableRS": stable, "currentPodHash": current, "canary": {"weights": weights}}
    patch = json.dumps({"status": status})
    options = ("--type=merge", "--subresource=status", f"--patch={patch}")
    namespace.kubectl("patch", "rollouts.argoproj.io/orders", *options)


def test_weights_follow_those_of_argo_rollouts_by_the_hashes_of_pods(namespace: Namespace) -> None:
    metadata = {"name": "orders-canary", "annotations": {"slipway/follows": "argo-rollouts"}}
    stable_at_first = {"weight-of-": "rest"}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": stable_at_first}
    namespace.apply(argos_rollout(), made)
    argo_says(namespace, "a1", "a1", 0)

    def until_pods_read(**shares: str) -> None:
        wanted = {"weight-of-": "rest", **{f"weight-of-{hash}": s for hash, s in shares.items()}}
        until(lambda: namespace.read("configmap/orders-canary")["data"] == wanted)

    with following(namespace, "orders"):
        until_pods_read(a1="rest")
        for weight in (0, 10, 100):
            argo_says(namespace, "a1", "b2", weight)
            until_pods_read(a1="rest", b2=str(weight))
        argo_says(namespace, "b2", "b2", 0)
        until_pods_read(b2="rest")
