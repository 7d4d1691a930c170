"""Routes of the Gateway API for a Service divide its requests as Istio's own routes do."""

from typing import Any

import pytest
from charts import HELMS, Charts, Refused, env_of

pytestmark = pytest.mark.skipif(not HELMS, reason="helm is not on the PATH")

Document = dict[str, Any]
LIST, GET = (
    f"shop.inventory.v1.InventoryService/{each}" for each in ("ListProducts", "GetProduct")
)
GATEWAY = "mesh.api=gateway"
CANARY = ("canary.image.tag=v2", "canary.weight=10")
MIRROR = ("canary.mirror.percent=50", f"canary.mirror.methods={{{GET},{LIST}}}")
JASON = {"name": "end-user", "type": "Exact", "value": "jason"}
# The Service of all pods, of which Istio takes those of the canary first; production has Istio.
FIRST = "inventory-canary-first"


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


def spec(documents: list[Document], kind: str, name: str = "") -> Document:
    """Return the spec of an object, by default of inventory's route of this kind."""
    name = name or f"inventory-mesh-{kind.removesuffix('Route').lower()}"
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return dict(found["spec"])


def shares(rule: Document) -> dict[str, int | None]:
    return {each["name"]: each.get("weight") for each in rule["backendRefs"]}


@pytest.mark.parametrize(("mesh", "canary"), [("true", FIRST), ("false", "inventory-canary")])
def test_routes_of_the_gateway_api_replace_those_of_istio(
    charts: Charts, mesh: str, canary: str
) -> None:
    sets = (GATEWAY, f"mesh.enabled={mesh}", *CANARY)
    rendered = charts.service("inventory", "production", *sets)
    kinds = {each["kind"] for each in rendered}
    assert "VirtualService" not in kinds
    for of_istio in ("AuthorizationPolicy", "DestinationRule"):
        assert (of_istio in kinds) is (mesh == "true")
    for kind, port in (("HTTPRoute", 8082), ("GRPCRoute", 9082)):
        route = spec(rendered, kind)
        parent = {"group": "", "kind": "Service", "name": "inventory", "port": port}
        assert route["parentRefs"] == [parent]
        assert [shares(rule) for rule in route["rules"]] == [{"inventory": 90, canary: 10}]
        assert {each["port"] for each in route["rules"][0]["backendRefs"]} == {port}
    for name, track in (("inventory", "stable"), ("inventory-canary", "canary")):
        assert spec(rendered, "Service", name)["selector"]["track"] == track


def test_stable_pods_answer_for_a_canary_without_a_pod_if_the_mesh_is_istios(
    charts: Charts,
) -> None:
    """Its proxies know an order of pods; another implementation would divide the share of all."""
    rendered = charts.service("inventory", "production", GATEWAY, "mesh.enabled=true", *CANARY)
    assert spec(rendered, "Service", FIRST)["selector"] == {"app": "inventory"}
    assert spec(rendered, "Service", FIRST)["ports"]
    rule = spec(rendered, "DestinationRule", FIRST)
    assert rule["host"] == FIRST
    assert rule["trafficPolicy"]["outlierDetection"], "no failover without it"
    order = rule["trafficPolicy"]["loadBalancer"]["localityLbSetting"]
    assert order == {"enabled": True, "failoverPriority": ["track=canary"]}


def test_monitoring_finds_each_pod_by_one_service(charts: Charts) -> None:
    rendered = charts.service("inventory", "production", GATEWAY, "mesh.enabled=true", *CANARY)
    services = [each for each in rendered if each["kind"] == "Service"]
    monitored = [each for each in services if each["metadata"]["labels"]["app"] == "inventory"]
    tracks = [each["spec"]["selector"]["track"] for each in monitored]
    assert sorted(tracks) == ["canary", "stable"]


@pytest.mark.parametrize(
    "sets", [("mesh.enabled=true", "canary.image.tag="), ("canary.follows=flagger",)]
)
def test_nothing_comes_first_without_a_canary_or_with_routes_of_a_tool(
    charts: Charts, sets: tuple[str, ...]
) -> None:
    rendered = charts.service("inventory", "production", GATEWAY, *sets)
    assert not [each for each in rendered if each["metadata"]["name"] == FIRST]


def test_the_entry_leads_to_the_pods_of_the_canary_alone(charts: Charts) -> None:
    """Its Gateway may be of another implementation than the mesh."""
    sets = (GATEWAY, "mesh.enabled=true", "entry.kind=gateway", *CANARY)
    rendered = charts.service("gateway", "development", *sets)
    (rule,) = spec(rendered, "HTTPRoute", "gateway")["rules"]
    assert shares(rule) == {"gateway": 90, "gateway-canary": 10}


@pytest.mark.parametrize(("weight", "left"), [(0, "inventory"), (100, FIRST)])
def test_a_track_without_a_share_has_no_route(charts: Charts, weight: int, left: str) -> None:
    sets = (GATEWAY, *CANARY, f"canary.weight={weight}")
    for kind in ("HTTPRoute", "GRPCRoute"):
        (rule,) = spec(charts.service("inventory", "production", *sets), kind)["rules"]
        assert shares(rule) == {left: 100}


def test_without_a_canary_all_requests_go_to_the_stable_pods(charts: Charts) -> None:
    rendered = charts.service("inventory", "production", GATEWAY)
    for kind in ("HTTPRoute", "GRPCRoute"):
        (rule,) = spec(rendered, kind)["rules"]
        assert shares(rule) == {"inventory": 100}


def test_headers_lead_to_the_canary(charts: Charts) -> None:
    sets = ("canary.match[0].end-user.exact=jason", "canary.match[1].a.prefix=b.c")
    rendered = charts.service("inventory", "production", GATEWAY, *CANARY, *sets)
    for kind in ("HTTPRoute", "GRPCRoute"):
        matched, rest = spec(rendered, kind)["rules"]
        assert shares(matched) == {FIRST: None}
        prefix = {"name": "a", "type": "RegularExpression", "value": r"b\.c.*"}
        assert matched["matches"] == [{"headers": [JASON]}, {"headers": [prefix]}]
        assert "matches" not in rest


def test_copies_are_made_of_the_named_methods_only(charts: Charts) -> None:
    rendered = charts.service("inventory", "production", GATEWAY, *CANARY, *MIRROR)
    copied, rest = spec(rendered, "GRPCRoute")["rules"]
    methods = [
        f"{each['method']['service']}/{each['method']['method']}" for each in copied["matches"]
    ]
    assert methods == [GET, LIST]
    (each,) = copied["filters"]
    assert each["type"] == "RequestMirror"
    to = {"name": "inventory-canary", "port": 9082}
    assert each["requestMirror"] == {"backendRef": to, "percent": 50}
    assert "filters" not in rest
    (rule,) = spec(rendered, "HTTPRoute")["rules"]
    assert "filters" not in rule


def test_a_header_leads_to_the_canary_for_copied_methods_too(charts: Charts) -> None:
    """A rule that names a method is taken before one that names a header only."""
    jason = "canary.match[0].end-user.exact=jason"
    rendered = charts.service("inventory", "production", GATEWAY, *CANARY, *MIRROR, jason)
    first = spec(rendered, "GRPCRoute")["rules"][0]
    assert shares(first) == {FIRST: None}
    assert all(each["headers"] == [JASON] for each in first["matches"])
    methods = [each["method"]["method"] for each in first["matches"] if "method" in each]
    assert methods == ["GetProduct", "ListProducts"]


def test_callers_call_the_service_to_which_the_routes_belong(charts: Charts) -> None:
    def targets(*sets: str) -> str:
        rendered = charts.service("gateway", "development", *sets)
        pod = spec(rendered, "Deployment", "gateway")["template"]["spec"]
        return env_of(pod["containers"][0])["APP_TARGETS"]

    assert "dns:///inventory:9082" in targets(GATEWAY)
    assert "dns:///inventory-headless:9082" in targets()


def test_no_two_routes_have_the_same_name_whatever_their_kinds(charts: Charts) -> None:
    """Istio may apply an HTTPRoute only, if a GRPCRoute has the same name."""
    rendered = charts.service("inventory", "production", GATEWAY, *CANARY, "entry.kind=gateway")
    names = [d["metadata"]["name"] for d in rendered if d["kind"].endswith("Route")]
    assert len(names) == len(set(names)) > 1


def test_routes_in_istios_words_are_refused(charts: Charts) -> None:
    with pytest.raises(Refused, match=r"in Istio's words: set mesh\.api=istio"):
        charts.service("inventory", "development", GATEWAY, "mesh.subsets[0].name=v1")
