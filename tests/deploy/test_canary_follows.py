"""Events of a service whose second version another tool makes follow that tool's weight."""

from typing import Any

import pytest
from charts import HELMS, Charts, Refused

pytestmark = pytest.mark.skipif(not HELMS, reason="helm is not on the PATH")

Document = dict[str, Any]
LABELS = {"flagger": "slipway/version-of", "argo-rollouts": "rollouts-pod-template-hash"}
# The stable pods read this key before `slipway canary follow` has run.
STABLE_AT_FIRST = {"flagger": "weight-of-orders-primary", "argo-rollouts": "weight-of-"}


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


def one(documents: list[Document], kind: str, name: str = "orders") -> Document:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("tool", LABELS)
def test_each_pod_reads_the_weight_of_its_version(charts: Charts, tool: str) -> None:
    rendered = charts.service("orders", "production", f"canary.follows={tool}")
    weights = one(rendered, "ConfigMap", "orders-canary")
    assert weights["data"] == {STABLE_AT_FIRST[tool]: "rest"}
    assert weights["metadata"]["annotations"]["slipway/follows"] == tool
    pod = one(rendered, "Deployment")["spec"]["template"]["spec"]
    (app,) = pod["containers"]
    variables = {each["name"]: each for each in app["env"]}
    label = variables["CANARY_LABEL"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert label == f"metadata.labels['{LABELS[tool]}']"
    file = variables["APP_EVENT_WEIGHT_FILE"]["value"]
    names = list(variables)
    assert names.index("CANARY_LABEL") < names.index("APP_EVENT_WEIGHT_FILE"), "it refers to it"
    (mount,) = [each for each in app["volumeMounts"] if file.startswith(each["mountPath"] + "/w")]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["configMap"]["name"] == "orders-canary"
    assert file == "/etc/slipway/canary/weight-of-$(CANARY_LABEL)"


def test_flagger_finds_a_label_that_no_policy_selects(charts: Charts) -> None:
    rendered = charts.service("orders", "production", "canary.follows=flagger")
    selector = one(rendered, "Deployment")["spec"]["selector"]["matchLabels"]
    assert selector == {"app": "orders", "track": "stable", "slipway/version-of": "orders"}
    policies = [d for d in rendered if d["kind"] in {"NetworkPolicy", "AuthorizationPolicy"}]
    assert policies
    assert "slipway/version-of" not in str(policies)


@pytest.mark.parametrize("api", ["istio", "gateway"])
@pytest.mark.parametrize("tool", LABELS)
def test_the_routes_are_those_of_the_tool(charts: Charts, tool: str, api: str) -> None:
    sets = (f"canary.follows={tool}", f"mesh.api={api}")
    kinds = {d["kind"] for d in charts.service("orders", "production", *sets)}
    assert "AuthorizationPolicy" in kinds
    assert not kinds & {"VirtualService", "DestinationRule", "HTTPRoute", "GRPCRoute"}


def test_a_service_without_lanes_has_no_weight_to_read(charts: Charts) -> None:
    rendered = charts.service("gateway", "production", "canary.follows=flagger")
    assert not [d for d in rendered if d["kind"] == "ConfigMap"]
    assert "APP_EVENT_WEIGHT_FILE" not in str(one(rendered, "Deployment", "gateway"))


@pytest.mark.parametrize("tool", LABELS)
def test_a_canary_of_the_chart_together_with_one_of_a_tool_is_refused(
    charts: Charts, tool: str
) -> None:
    with pytest.raises(Refused, match=r"leave canary\.image empty, or canary\.follows"):
        charts.service("orders", "production", f"canary.follows={tool}", "canary.image.tag=v2")


def test_a_tool_that_is_not_known_is_refused(charts: Charts) -> None:
    with pytest.raises(Refused, match="follows"):
        charts.service("orders", "production", "canary.follows=spinnaker")
