"""The charts configure the mesh: callers admitted as the code declares, and routes of calls."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.cluster.tools import ToolFailed, missing, run

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy/istio/examples"
SERVICES = sorted(path.parent.parent.name for path in ROOT.glob("services/*/deploy/facts.yaml"))
MESH = ("--set=mesh.enabled=true,metrics.port=9100,entry.kind=gateway",)
ROUTES = sorted({path.stem for path in EXAMPLES.glob("*.yaml")} - {"tracks", "versions"})

pytestmark = pytest.mark.skipif(bool(missing(("helm",))), reason="helm is not on the PATH")


def rendered(service: str, *options: str) -> list[dict[str, Any]]:
    """Return the objects of a release in the namespace `shop`."""
    folder = ROOT / "services" / service / "deploy"
    files = [file for file in (folder / "facts.yaml", folder / "values.yaml") if file.exists()]
    text = run(
        *("helm", "template", service, str(ROOT / "deploy/helm/service"), "--namespace=shop"),
        *(f"--values={file}" for file in files),
        *options,
    )
    return [found for found in yaml.safe_load_all(text) if found]


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def is_hook(each: dict[str, Any]) -> bool:
    return "helm.sh/hook" in each["metadata"].get("annotations", {})


def pod_of(each: dict[str, Any]) -> dict[str, Any]:
    """Return the pod that an object is or makes; an empty mapping if it makes none."""
    if each["kind"] == "Pod":
        return each
    spec = each.get("spec", {})
    found: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return found


def sidecars(objects: list[dict[str, Any]]) -> Iterator[str | None]:
    """Yield the value of each pod's label for sidecars."""
    for pod in filter(None, map(pod_of, objects)):
        yield pod["metadata"]["labels"].get("sidecar.istio.io/inject")


def admitted(policy: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the admitted callers with their ports and paths."""
    for rule in policy["spec"]["rules"]:
        sources = [p for each in rule.get("from", ()) for p in each["source"]["principals"]]
        for operation in (each["operation"] for each in rule["to"]):
            for port in operation["ports"]:
                for path in operation.get("paths", ["*"]):
                    for source in sources or ["*"]:
                        yield source.removeprefix("cluster.local/ns/shop/sa/"), port, path


@pytest.mark.parametrize("service", SERVICES)
def test_a_grpc_port_admits_just_the_callers_that_the_code_declares(service: str) -> None:
    facts = yaml.safe_load(
        (ROOT / f"services/{service}/deploy/facts.yaml").read_text(encoding="utf-8")
    )["facts"]
    declared = {
        (caller, f"/{contract}/*")
        for caller, contracts in facts.get("callers", {}).items()
        for contract in contracts
    }
    port = str(facts.get("grpc", {}).get("port"))
    policy = one(rendered(service, *MESH), "AuthorizationPolicy")
    found = {(who, path) for who, where, path in admitted(policy) if where == port}
    assert found - {(f"{service}-test", "*")} == declared


@pytest.mark.parametrize("service", SERVICES)
def test_only_the_metrics_port_is_open_to_those_without_a_certificate(service: str) -> None:
    objects = rendered(service, *MESH)
    policy = one(objects, "AuthorizationPolicy")
    assert [each for each in admitted(policy) if each[0] == "*"] == [("*", "9100", "/metrics")]
    mtls = one(objects, "PeerAuthentication")["spec"]
    assert mtls["mtls"] == {"mode": "STRICT"}
    assert mtls["portLevelMtls"] == {9100: {"mode": "PERMISSIVE"}}
    without_a_port = one(rendered(service, "--set=mesh.enabled=true"), "PeerAuthentication")
    assert "portLevelMtls" not in without_a_port["spec"]


def test_the_entry_is_admitted_to_the_gateway_and_to_no_other_service() -> None:
    for service in SERVICES:
        policy = one(rendered(service, *MESH), "AuthorizationPolicy")
        from_entry = [each for each in admitted(policy) if each[0] == "slipway-istio"]
        assert bool(from_entry) is (service == "gateway"), service


def test_the_entry_is_admitted_to_the_api_that_the_code_declares_and_to_nothing_else() -> None:
    api = ("/docs", "/openapi.json", "/orders", "/products")
    below = {path for each in api for path in (each, f"{each}/*")}
    policy = one(rendered("gateway", *MESH), "AuthorizationPolicy")
    found = {path for who, _, path in admitted(policy) if who == "slipway-istio"}
    assert found == below


def test_the_controller_of_an_ingress_is_admitted_by_its_service_account() -> None:
    ingress = "--set=entry.kind=ingress,networkPolicy.entry[0].podSelector.matchLabels.a=b"
    account = "--set=entry.serviceAccounts={edge/controller}"
    policy = one(rendered("gateway", *MESH, ingress, account), "AuthorizationPolicy")
    assert "/orders" in {
        path for who, _, path in admitted(policy) if who == "cluster.local/ns/edge/sa/controller"
    }
    with pytest.raises(ToolFailed, match=r"entry\.serviceAccounts is missing"):
        rendered("gateway", *MESH, ingress)


@pytest.mark.parametrize("example", ROUTES)
def test_each_route_of_an_example_has_its_port_and_leaves_retries_to_the_services(
    example: str,
) -> None:
    file = EXAMPLES / f"{example}.yaml"
    service = "gateway" if "host: gateway" in file.read_text(encoding="utf-8") else "inventory"
    versions = f"--values={EXAMPLES / 'versions.yaml'}"
    objects = rendered(service, *MESH, versions, f"--values={file}")
    subsets = {each["name"] for each in one(objects, "DestinationRule")["spec"]["subsets"]}
    for route in one(objects, "VirtualService")["spec"]["http"]:
        assert route["retries"] == {"attempts": 0}
        ports = {match["port"] for match in route["match"]}
        targets = [each["destination"] for each in route["route"]]
        targets += [route["mirror"]] if "mirror" in route else []
        assert {target["port"]["number"] for target in targets} == ports
        assert {target["host"] for target in targets} == {service}
        assert {target["subset"] for target in targets if "subset" in target} <= subsets


def test_a_canary_is_one_deployment_more_of_the_same_service_and_its_weight() -> None:
    objects = rendered("inventory", *MESH, "--set=track=canary")
    kinds = [each["kind"] for each in objects if not is_hook(each)]
    assert kinds == ["ConfigMap", "Deployment"]
    canary, stable = (one(found, "Deployment") for found in (objects, rendered("inventory", *MESH)))
    assert canary["metadata"]["name"] != stable["metadata"]["name"]
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in (stable, canary)]
    assert [each["app"] for each in labels] == ["inventory", "inventory"]
    assert [each["track"] for each in labels] == ["stable", "canary"]


def test_no_subset_is_named_that_may_have_no_pods() -> None:
    rule = one(rendered("inventory", *MESH), "DestinationRule")
    assert "subsets" not in rule["spec"]
    tracks = f"--values={EXAMPLES / 'tracks.yaml'}"
    subsets = one(rendered("inventory", *MESH, tracks), "DestinationRule")["spec"]["subsets"]
    assert {each["labels"]["track"] for each in subsets} == {"stable", "canary"}


def test_a_mesh_that_prometheus_could_not_read_is_refused() -> None:
    monitored = "--set=mesh.enabled=true,monitoring.serviceMonitor.enabled=true"
    with pytest.raises(ToolFailed, match=r"metrics\.port is missing"):
        rendered("inventory", monitored)
    rendered("inventory", monitored, "--set=metrics.port=9100")


@pytest.mark.parametrize("service", SERVICES)
def test_every_pod_asks_for_its_sidecar_in_a_mesh_alone(service: str) -> None:
    again = "--set=nats.streamsSchedule=* * * * *"
    assert set(sidecars(rendered(service, *MESH, again))) == {"true"}
    assert set(sidecars(rendered(service, again))) == {None}


def test_a_pod_label_of_ones_own_decides_about_the_sidecar() -> None:
    own = "--set-string=podLabels.sidecar\\.istio\\.io/inject=false"
    labels = pod_of(one(rendered("gateway", *MESH, own), "Deployment"))["metadata"]["labels"]
    assert labels["sidecar.istio.io/inject"] == "false"


def test_without_a_mesh_nothing_of_istio_is_there() -> None:
    kinds = {each["apiVersion"] for service in SERVICES for each in rendered(service)}
    assert not [kind for kind in kinds if "istio" in kind]
