"""The charts configure the mesh: callers admitted as the code declares, and routes of calls."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.cluster.tools import ToolFailed, missing, run
from devkit.describing.reading import describe_platform
from devkit.workspace import find_workspace

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy/istio/examples"
SERVICES = sorted(path.parent.parent.name for path in ROOT.glob("services/*/deploy/facts.yaml"))
MESH = ("--set=mesh.enabled=true,metrics.port=9100,entry.kind=gateway",)
CANARY = ("--set=canary.image.tag=v2,canary.weight=10",)
JASON = ("--set=canary.match[0].end-user.exact=jason",)
GET_PRODUCT = "shop.inventory.v1.InventoryService/GetProduct"
MIRROR = (f"--set=canary.mirror.percent=50,canary.mirror.methods={{{GET_PRODUCT}}}",)

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


def one_named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return one([each for each in objects if each["metadata"]["name"] == name], kind)


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


def routes(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(one(objects, "VirtualService")["spec"]["http"])


def targets(route: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the destinations of a route, and that of its copies."""
    found = [each["destination"] for each in route["route"]]
    return [*found, route["mirror"]] if "mirror" in route else found


def shares(route: dict[str, Any]) -> dict[str, int]:
    """Return the weights of a route by subset."""
    return {each["destination"]["subset"]: each["weight"] for each in route["route"]}


@pytest.mark.parametrize(
    ("service", "options"),
    [
        ("inventory", (f"--values={EXAMPLES / 'fault.yaml'}",)),
        ("gateway", (*CANARY, f"--values={EXAMPLES / 'cookie.yaml'}")),
        ("inventory", (*CANARY, *MIRROR, *JASON)),
        ("inventory", ()),
    ],
)
def test_each_route_has_its_port_and_leaves_retries_to_the_services(
    service: str, options: tuple[str, ...]
) -> None:
    objects = rendered(service, *MESH, *options)
    rule = one_named(objects, "DestinationRule", service)
    subsets = {each["name"] for each in rule["spec"]["subsets"]}
    for route in routes(objects):
        assert route["retries"] == {"attempts": 0}
        ports = {match["port"] for match in route["match"]}
        assert {target["port"]["number"] for target in targets(route)} == ports
        assert {target["host"] for target in targets(route)} == {service}
        assert {target["subset"] for target in targets(route)} <= subsets


def test_the_weight_divides_grpc_and_http_between_the_subsets() -> None:
    objects = rendered("inventory", *MESH, *CANARY)
    assert [shares(route) for route in routes(objects)] == [{"canary": 10, "stable": 90}] * 2
    stable, canary = one(objects, "DestinationRule")["spec"]["subsets"]
    assert stable == {"name": "stable", "labels": {"track": "stable"}}
    assert canary["name"] == "canary"
    service = one_named(objects, "Service", "inventory")["spec"]["selector"]
    assert service == {"app": "inventory"}


def test_outlier_detection_covers_every_service_that_a_route_leads_to() -> None:
    objects = rendered("gateway", *MESH, *CANARY)
    rules = [each["spec"] for each in objects if each["kind"] == "DestinationRule"]
    covered = {each["host"] for each in rules if each["trafficPolicy"]["outlierDetection"]}
    (rule,) = one(objects, "HTTPRoute")["spec"]["rules"]
    assert covered == {"gateway", *(each["name"] for each in rule["backendRefs"])}
    assert {each["host"] for each in rules if "subsets" in each} == {"gateway"}


@pytest.mark.parametrize(("weight", "left"), [(0, {"stable": 100}), (100, {"canary": 100})])
def test_a_track_without_a_share_has_no_route(weight: int, left: dict[str, int]) -> None:
    objects = rendered("inventory", *MESH, *CANARY, f"--set=canary.weight={weight}")
    assert [shares(route) for route in routes(objects)] == [left] * 2


@pytest.mark.parametrize("standing", [(), ("--set=canary.match[0].end-user.exact=jason",)])
def test_no_route_names_a_canary_that_does_not_exist(standing: tuple[str, ...]) -> None:
    objects = rendered("inventory", *MESH, *standing)
    assert [shares(route) for route in routes(objects)] == [{"stable": 100}] * 2


def test_stable_pods_answer_for_a_canary_without_a_pod_and_never_the_other_way_round() -> None:
    rule = one(rendered("inventory", *MESH, *CANARY), "DestinationRule")["spec"]
    assert rule["trafficPolicy"]["outlierDetection"], "no failover without it"
    stable, canary = rule["subsets"]
    assert "trafficPolicy" not in stable
    assert "labels" not in canary, "all pods are in it"
    balancing = canary["trafficPolicy"]["loadBalancer"]["localityLbSetting"]
    assert balancing == {"enabled": True, "failoverPriority": ["track=canary"]}


def test_no_subset_ends_with_the_canary_because_routes_may_still_name_it() -> None:
    before, after = (rendered("inventory", *MESH, *sets) for sets in (CANARY, ()))
    assert one(before, "DestinationRule") == one(after, "DestinationRule")


def test_headers_lead_to_the_canary_before_any_weight() -> None:
    sets = ("--set=canary.match[0].end-user.exact=jason", "--set=canary.match[1].a.prefix=b")
    objects = rendered("inventory", *MESH, *CANARY, *sets)
    for port in (9082, 8082):
        first, rest = (each for each in routes(objects) if each["match"][0]["port"] == port)
        headers = [each["headers"] for each in first["match"]]
        assert headers == [{"end-user": {"exact": "jason"}}, {"a": {"prefix": "b"}}]
        assert [each["subset"] for each in targets(first)] == ["canary"]
        assert shares(rest) == {"canary": 10, "stable": 90}


@pytest.mark.parametrize("api", ["istio", "gateway"])
def test_headers_lead_nowhere_until_the_canary_has_weight_or_is_said_to_be_ready(api: str) -> None:
    def leads(*sets: str) -> set[str]:
        objects = rendered("gateway", *MESH, f"--set=mesh.api={api}", *CANARY, *JASON, *sets)
        kinds = ("VirtualService", "HTTPRoute", "GRPCRoute")
        return {each["kind"] for each in objects if each["kind"] in kinds and "jason" in str(each)}

    started, ready = "--set=canary.weight=0", "--set=canary.matchAtZero=true"
    assert leads(started) == set()
    assert leads(started, ready) == leads("--set=canary.weight=1") != set()


def test_copies_are_made_of_the_named_methods_only() -> None:
    objects = rendered("inventory", *MESH, *CANARY, *MIRROR)
    (copied,) = [each for each in routes(objects) if "mirror" in each]
    assert copied["match"] == [{"port": 9082, "uri": {"exact": f"/{GET_PRODUCT}"}}]
    assert copied["mirror"]["subset"] == "canary"
    assert copied["mirrorPercentage"] == {"value": 50}
    assert shares(copied) == {"canary": 10, "stable": 90}
    everything = rendered("inventory", *MESH, *CANARY, *MIRROR, "--set=canary.weight=100")
    assert not [each for each in routes(everything) if "mirror" in each]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (
            "canary.mirror.methods={shop.inventory.v1.InventoryService/LoadProducts}",
            r"InventoryService/LoadProducts is not .* NO_SIDE_EFFECTS.*InventoryService/GetProduct",
        ),
        (
            "canary.mirror.percent=5",
            r"canary\.mirror\.methods is empty.*InventoryService/GetProduct",
        ),
        ("mesh.routes.grpc[0].route[0].destination.host=a", r"would contradict: remove them"),
        ("mesh.subsets[0].name=v1", r"would contradict: remove them"),
        ("mesh.enabled=false,canary.mirror.percent=5", r"canary\.mirror needs routes"),
    ],
)
def test_routes_that_a_canary_cannot_have_are_refused(sets: str, said: str) -> None:
    with pytest.raises(ToolFailed, match=said):
        rendered("inventory", *MESH, *CANARY, f"--set={sets}")


def test_routes_and_subsets_of_ones_own_are_possible_without_a_canary() -> None:
    sets = "mesh.subsets[0].name=v1,mesh.routes.grpc[0].route[0].destination.host=inventory"
    objects = rendered("inventory", *MESH, f"--set={sets}")
    subsets = one(objects, "DestinationRule")["spec"]["subsets"]
    assert [each["name"] for each in subsets] == ["stable", "canary", "v1"]
    for taken in ("stable", "canary"):
        with pytest.raises(ToolFailed, match="give yours another name"):
            rendered("inventory", *MESH, f"--set=mesh.subsets[0].name={taken}")


@pytest.mark.parametrize("service", SERVICES)
def test_the_methods_that_may_be_copied_are_those_that_the_code_marks(service: str) -> None:
    described = describe_platform(find_workspace(ROOT)).service(service)
    assert described is not None
    marked = [
        method.path.removeprefix("/")
        for contract in (described.grpc.services if described.grpc else ())
        for method in contract.methods
        if method.reads_only
    ]
    file = ROOT / f"services/{service}/deploy/facts.yaml"
    facts = yaml.safe_load(file.read_text(encoding="utf-8"))["facts"]
    assert facts.get("grpc", {}).get("reads", []) == marked


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
