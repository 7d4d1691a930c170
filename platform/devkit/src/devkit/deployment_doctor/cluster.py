"""Checks of the cluster that kubectl's current context names."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from devkit.deployment_doctor.commands import CommandFailed, kubectl, output
from devkit.deployment_doctor.workloads import Workload, read_workloads, running
from devkit.doctor import Finding

__all__ = [
    "Cluster",
    "cluster_findings",
    "gateway_api",
    "istio",
    "metrics",
    "nodes",
    "operator",
    "pod_security",
    "registry",
    "server",
    "storage",
]

# The controller manager's provisioner makes folders of root, whatever group a pod has.
_ROOT_ONLY_PROVISIONER = "kubernetes.io/host-path"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# Skaffold loads built images into these clusters without a registry.
_LOCAL_CONTEXTS = ("kind-", "k3d-", "minikube", "docker-desktop", "docker-for-desktop")


@dataclass(frozen=True)
class Cluster:
    """Resource definitions and workloads of the cluster, read once for all checks."""

    definitions: frozenset[str]
    workloads: tuple[Workload, ...]


def cluster_findings(tools: Iterable[Finding], pool: Executor) -> Iterator[Finding]:
    """Yield the cluster's findings; if it is unreachable, only that."""
    if any(tool.about == "kubectl" and not tool.ok for tool in tools):
        yield Finding("cluster", "not checked", "install kubectl", needed=True)
        return
    reached = server(_current_context())
    yield reached
    if not reached.ok and reached.needed:
        return
    try:
        definitions = pool.submit(kubectl, "get", "customresourcedefinitions")
        workloads = pool.submit(kubectl, "get", "deployments,statefulsets,daemonsets", "-A")
        cluster = Cluster(
            frozenset(item["metadata"]["name"] for item in definitions.result()["items"]),
            read_workloads(workloads.result()),
        )
    except CommandFailed as failure:
        advice = "ask for the rights to list resource definitions and workloads (ClusterRole view)"
        yield Finding("rights", str(failure), advice)
        return
    checks: tuple[Callable[[], Finding], ...] = (
        lambda: nodes(kubectl("get", "nodes")),
        lambda: storage(kubectl("get", "storageclasses")),
        lambda: registry(_current_context(), os.environ),
        lambda: metrics(kubectl("get", "apiservices")),
        lambda: _gateway_api(cluster),
        lambda: istio(cluster),
        lambda: pod_security(cluster),
        *(partial(operator, cluster, *each) for each in _OPERATORS),
    )
    yield from pool.map(_finding_without_rights, checks)


_OPERATORS = (
    (
        "keda",
        ("scaledobjects.keda.sh",),
        ("keda",),
        "needed for `autoscaling.kind: keda`: https://keda.sh/docs/latest/deploy",
    ),
    (
        "prometheus",
        ("servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"),
        ("prometheus-operator",),
        "needed for ServiceMonitors and alerts: the chart kube-prometheus-stack,"
        " https://prometheus-operator.dev/docs/getting-started/installation",
    ),
    (
        "argo cd",
        ("applications.argoproj.io", "appprojects.argoproj.io"),
        ("argocd",),
        "needed for deploy/gitops/argocd: https://argo-cd.readthedocs.io/en/stable/getting_started",
    ),
    (
        "flux",
        (
            "gitrepositories.source.toolkit.fluxcd.io",
            "helmreleases.helm.toolkit.fluxcd.io",
            "kustomizations.kustomize.toolkit.fluxcd.io",
        ),
        ("source-controller", "helm-controller", "kustomize-controller"),
        "needed for deploy/gitops/flux: `flux install`, https://fluxcd.io/flux/installation",
    ),
)


def server(context: str) -> Finding:
    """Check that the API server answers, and that kubectl's version fits it."""
    try:
        versions = kubectl("version")
        found = versions["serverVersion"]
    except (CommandFailed, KeyError) as failure:
        named = f"{context}: " if context else "no context is set: "
        advice = "set KUBECONFIG, or `kubectl config use-context`; a local cluster: `kind create"
        return Finding("cluster", f"{named}{failure}", f"{advice} cluster`", needed=True)
    shown = f"{context}: Kubernetes {found['gitVersion']}"
    client, minor = (_minor(versions[side]) for side in ("clientVersion", "serverVersion"))
    if abs(client - minor) > 1:
        advice = "install a kubectl that is at most one minor version older or newer"
        return Finding("cluster", f"{shown}, kubectl 1.{client}", advice, needed=False)
    return Finding("cluster", shown)


def nodes(listed: Mapping[str, Any]) -> Finding:
    """Check that a node is ready for pods."""
    ready = [item for item in listed["items"] if _condition(item, "Ready")]
    found = f"{len(ready)} of {len(listed['items'])} ready"
    if not ready:
        return Finding("nodes", found, "`kubectl describe nodes` says why")
    return Finding("nodes", found)


def storage(listed: Mapping[str, Any]) -> Finding:
    """Check for a default StorageClass, which in-cluster NATS and PostgreSQL need for volumes."""
    defaults = {
        item["metadata"]["name"]: item.get("provisioner")
        for item in listed["items"]
        if item["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true"
    }
    if defaults:
        found = f"the default class is {', '.join(defaults)}"
        if _ROOT_ONLY_PROVISIONER not in defaults.values():
            return Finding("storage", found)
        advice = (
            "`skaffold dev --profile without-volumes`, or for helm"
            " `--set nats.storage.enabled=false,postgresql.storage.enabled=false`, keeps data"
            " in pods"
        )
        return Finding("storage", f"{found}: only root can write to it", advice, needed=False)
    names = [item["metadata"]["name"] for item in listed["items"]]
    advice = (
        f"`kubectl annotate storageclass {names[0] if names else 'NAME'} {_DEFAULT_CLASS}=true`;"
        " without one, use a NATS and a PostgreSQL outside of the cluster"
    )
    found = f"no default class among {', '.join(names)}" if names else "no class"
    return Finding("storage", found, advice, needed=False)


def registry(context: str, environment: Mapping[str, str]) -> Finding:
    """Check that nodes can get built images: by loading, or from a registry that is named."""
    if context.startswith(_LOCAL_CONTEXTS):
        found = f"Skaffold loads images into {context}; Helm and Kustomize need a registry"
        return Finding("registry", found)
    named = environment.get("SKAFFOLD_DEFAULT_REPO")
    if named:
        return Finding("registry", f"{named} (SKAFFOLD_DEFAULT_REPO)")
    return Finding(
        "registry",
        "not named, so nodes cannot get built images",
        "`export SKAFFOLD_DEFAULT_REPO=…` for Skaffold, `--set global.image.registry=…` for Helm:"
        " a registry to which you can push and from which the nodes pull",
        needed=False,
    )


def metrics(listed: Mapping[str, Any]) -> Finding:
    """Check that metrics-server answers, which HorizontalPodAutoscalers need."""
    for item in listed["items"]:
        if item["metadata"]["name"].endswith(".metrics.k8s.io") and _condition(item, "Available"):
            return Finding("metrics", "metrics-server answers")
    return Finding(
        "metrics",
        "metrics-server doesn't answer",
        "needed for `autoscaling.kind: hpa`:"
        " https://github.com/kubernetes-sigs/metrics-server#installation",
        needed=False,
    )


def _gateway_api(cluster: Cluster) -> Finding:
    classes: Mapping[str, Any] = {"items": []}
    if "gatewayclasses.gateway.networking.k8s.io" in cluster.definitions:
        classes = kubectl("get", "gatewayclasses")
    return gateway_api(cluster, classes)


def gateway_api(cluster: Cluster, classes: Mapping[str, Any]) -> Finding:
    """Check for the Gateway API's definitions, and for an accepted GatewayClass."""
    if "httproutes.gateway.networking.k8s.io" not in cluster.definitions:
        advice = "entry by HTTPRoute needs it: https://gateway-api.sigs.k8s.io/guides"
        return Finding("gateway API", "not installed", f"{advice}; or use `ingress`", needed=False)
    accepted = [
        item["metadata"]["name"] for item in classes["items"] if _condition(item, "Accepted")
    ]
    if accepted:
        return Finding("gateway API", f"GatewayClass {', '.join(accepted)}")
    return Finding(
        "gateway API",
        "its definitions are installed, but no GatewayClass is accepted",
        "install a controller, for example Istio: https://gateway-api.sigs.k8s.io/implementations",
        needed=False,
    )


def istio(cluster: Cluster) -> Finding:
    """Check that Istio's definitions are installed and istiod is ready."""
    istiod = running(cluster.workloads, "istiod")
    if "authorizationpolicies.security.istio.io" not in cluster.definitions:
        advice = "needed for the mesh and for canaries: https://istio.io/latest/docs/setup/install"
        return Finding("istio", "not installed", advice, needed=False)
    if istiod is None:
        advice = "install istiod, unless the cloud runs it outside of the cluster"
        return Finding(
            "istio", "its definitions are installed, istiod is not", advice, needed=False
        )
    if not istiod.ready:
        advice = f"`kubectl -n {istiod.namespace} describe deployment {istiod.name}`"
        return Finding("istio", f"{istiod.name} is not ready", advice, needed=False)
    return Finding("istio", f"{istiod.namespace}/{istiod.name} is ready")


def pod_security(cluster: Cluster) -> Finding:
    """Report which Pod Security level a namespace of the platform can have."""
    if running(cluster.workloads, "istiod") is None:
        return Finding("pod security", "restricted")
    cni = running(cluster.workloads, "istio-cni-node")
    if cni is not None and cni.ready:
        return Finding("pod security", f"restricted, sidecars too: {cni.name} runs")
    return Finding(
        "pod security",
        "restricted without sidecars; istio-init's NET_ADMIN needs privileged with them",
        "install istio-cni (https://istio.io/latest/docs/setup/additional-setup/cni), or label"
        " namespaces with sidecars `pod-security.kubernetes.io/enforce=privileged`",
        needed=False,
    )


def operator(
    cluster: Cluster, name: str, definitions: tuple[str, ...], images: tuple[str, ...], get: str
) -> Finding:
    """Check that an operator's definitions are installed and its controllers are ready."""
    missing = [each for each in definitions if each not in cluster.definitions]
    if missing:
        found = "not installed" if len(missing) == len(definitions) else f"no {missing[0]}"
        return Finding(name, found, get, needed=False)
    controllers = {image: running(cluster.workloads, image) for image in images}
    for image, controller in controllers.items():
        if controller is None:
            found = f"its definitions are installed, but {image} does not run"
            return Finding(name, found, get, needed=False)
        if not controller.ready:
            found = f"{controller.namespace}/{controller.name} is not ready"
            advice = f"`kubectl -n {controller.namespace} get pods` says more"
            return Finding(name, found, advice, needed=False)
    return Finding(name, f"{', '.join(images)} ready")


def _finding_without_rights(check: Callable[[], Finding]) -> Finding:
    """Run a check; return a note if the user may not read what it needs."""
    try:
        return check()
    except CommandFailed as failure:
        advice = "ask the cluster's administrators for the right to list it (ClusterRole view)"
        return Finding("rights", str(failure), advice, needed=False)


def _current_context() -> str:
    try:
        return output("kubectl", "config", "current-context")
    except CommandFailed:
        return ""


def _condition(item: Mapping[str, Any], kind: str) -> bool:
    """Return whether an object has a condition of this kind that is true."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _minor(version: Mapping[str, str]) -> int:
    """Return the minor number of a version of Kubernetes."""
    # Some clouds add a plus sign: "27+".
    return int("".join(digit for digit in version["minor"] if digit.isdigit()))
