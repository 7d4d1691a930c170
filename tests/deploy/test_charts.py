"""The Helm charts keep their promises for every service and all values."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import ENVIRONMENTS, HELMS, ROOT, SERVICES, Charts, Refused, env_of, pods

from devkit.cluster.dependencies import update_dependencies
from devkit.describing.description import PlatformDescription
from devkit.errors import DevkitError
from devkit.rendering import chart_readme

pytestmark = pytest.mark.skipif(not HELMS, reason="helm is not on the PATH")

Document = dict[str, Any]


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


@pytest.fixture(scope="session")
def everything(charts: Charts) -> list[Document]:
    """Documents rendered for each environment, as single releases and by the umbrella."""
    found = []
    for environment in ENVIRONMENTS:
        found += charts.umbrella(environment)
        for name in SERVICES:
            found += charts.service(name, environment)
    return found


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def test_broker_and_database_ask_for_their_sidecars_in_a_mesh_alone(charts: Charts) -> None:
    for sets, asked in (((), None), (("global.mesh.enabled=true",), "true")):
        servers = [d for d in charts.umbrella("development", *sets) if d["kind"] == "StatefulSet"]
        assert {d["metadata"]["name"] for d in servers} == {"nats", "postgresql"}
        for server in servers:
            labels = server["spec"]["template"]["metadata"]["labels"]
            assert labels.get("sidecar.istio.io/inject") == asked


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_charts_render_by_every_helm_there_is(
    charts: Charts, environment: str, helm: str
) -> None:
    by = replace(charts, helm=helm)
    for name in SERVICES:
        assert one(by.service(name, environment), "Deployment", name)
    rendered = by.umbrella(environment)
    assert {d["metadata"]["name"] for d in rendered if d["kind"] == "Deployment"} == set(SERVICES)


def test_a_service_is_the_same_in_a_release_of_its_own_and_in_the_umbrella(charts: Charts) -> None:
    together = charts.umbrella()
    for name in SERVICES:
        for alone in charts.service(name):
            other = one(together, alone["kind"], alone["metadata"]["name"])
            for each in (alone, other):
                drop_release(each)
            assert alone == other


def drop_release(node: Any) -> None:
    """Remove the release's name, the only permitted difference."""
    if isinstance(node, dict):
        node.pop("app.kubernetes.io/instance", None)
        for each in node.values():
            drop_release(each)
    elif isinstance(node, list):
        for each in node:
            drop_release(each)


def test_every_pod_meets_the_restricted_standard_but_for_what_developers_write(
    everything: list[Document],
) -> None:
    found = list(pods(everything))
    assert len(found) > 2 * len(SERVICES)
    for name, spec in found:
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


def test_root_file_systems_are_read_only_in_production(charts: Charts) -> None:
    for name, spec in pods(charts.umbrella("production")):
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


def test_no_pod_gets_a_token_or_variables_of_other_services(everything: list[Document]) -> None:
    for name, spec in pods(everything):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name


def test_no_container_is_given_a_variable_twice(charts: Charts) -> None:
    sets = ("settings.APP_VERSION=mine", "settings.APP_LOG_LEVEL=DEBUG")
    for _, spec in pods(charts.service("orders", "production", *sets)):
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            names = [each["name"] for each in container.get("env", [])]
            assert len(names) == len(set(names))
    (container,) = one(charts.service("orders", "production", *sets), "Deployment", "orders")[
        "spec"
    ]["template"]["spec"]["containers"]
    assert env_of(container)["APP_VERSION"] == "mine"


def test_a_deployment_selects_by_app_and_track_alone(everything: list[Document]) -> None:
    for each in everything:
        if each["kind"] == "Deployment":
            name = each["metadata"]["name"]
            assert each["spec"]["selector"] == {"matchLabels": {"app": name, "track": "stable"}}


def test_charts_are_rendered_again_after_a_service_was_added(tmp_path: Path) -> None:
    """The lock file is from before; git ignores it."""
    chart = Charts.copy(tmp_path / "helm").folder / "slipway"
    lines = (chart / "Chart.yaml").read_text(encoding="utf-8")
    added = "  - {name: service, alias: loyalty, version: '*', repository: file://../service}\n"
    (chart / "Chart.yaml").write_text(
        lines.replace("dependencies:\n", f"dependencies:\n{added}"), encoding="utf-8"
    )
    before = (chart / "Chart.lock").read_text(encoding="utf-8")

    update_dependencies(chart)

    after = (chart / "Chart.lock").read_text(encoding="utf-8")
    assert after.count("name: service") == before.count("name: service") + 1


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_what_scales_is_the_only_one_to_say_how_many(charts: Charts, kind: str) -> None:
    rendered = charts.service("inventory", "development", f"autoscaling.kind={kind}")
    assert "replicas" not in one(rendered, "Deployment", "inventory")["spec"]
    scalers = [d for d in rendered if d["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    (scaler,) = scalers
    assert scaler["spec"]["scaleTargetRef"]["name"] == "inventory"
    fixed = charts.service("inventory", "development", "replicas=3")
    assert one(fixed, "Deployment", "inventory")["spec"]["replicas"] == 3


def test_more_replicas_than_lanes_are_refused(charts: Charts) -> None:
    lanes = yaml.safe_load(
        (ROOT / "services/inventory/deploy/facts.yaml").read_text(encoding="utf-8")
    )
    most = lanes["facts"]["lanes"]
    sets = ("autoscaling.kind=hpa", f"autoscaling.maxReplicas={most}")
    assert charts.service("inventory", "development", *sets)
    with pytest.raises(Refused, match="above the number of lanes"):
        charts.service("inventory", "development", sets[0], f"autoscaling.maxReplicas={most + 1}")


@pytest.mark.parametrize(
    "misspelt", ["image.tga=1", "replica=2", "defaults.replica=2", "global.image.tga=1"]
)
def test_a_misspelt_value_is_refused(charts: Charts, misspelt: str) -> None:
    with pytest.raises(Refused, match=misspelt.split("=")[0].split(".")[-1]):
        charts.service("orders", "development", misspelt)


@pytest.mark.parametrize(
    "misspelt",
    ["oders.image.tag=1", "orders.image.tga=1", "global.imag.tag=1", "nats.sise=1"],
)
def test_a_misspelt_value_of_the_umbrella_is_refused(charts: Charts, misspelt: str) -> None:
    with pytest.raises(Refused):
        charts.umbrella("development", misspelt)


def test_values_of_other_charts_below_global_are_admitted(charts: Charts) -> None:
    assert charts.service("orders", "development", "global.imagePullSecrets[0]=mine")


def test_a_release_without_facts_says_where_they_are(charts: Charts) -> None:
    with pytest.raises(Refused, match=r"services/<name>/deploy/facts\.yaml"):
        charts.run("template", "x", str(charts.folder / "service"))


def test_global_values_reach_all_services_and_a_services_own_win(charts: Charts) -> None:
    rendered = charts.umbrella(
        "development", "global.image.tag=all", "orders.image.tag=own", "global.mesh.enabled=false"
    )
    images = {
        name: one(rendered, "Deployment", name)["spec"]["template"]["spec"]["containers"][0][
            "image"
        ]
        for name in SERVICES
    }
    assert images.pop("orders") == "slipway-orders:own"
    assert set(images.values()) == {f"slipway-{name}:all" for name in images}


def test_a_pod_has_more_time_to_end_than_its_service_takes(everything: list[Document]) -> None:
    for each in everything:
        if each["kind"] == "Deployment":
            spec = each["spec"]["template"]["spec"]
            env = env_of(spec["containers"][0])
            grace = int(env["APP_SHUTDOWN_GRACE_SECONDS"])
            # The chassis exits a second after its grace period, and drains for at most half of it.
            assert spec["terminationGracePeriodSeconds"] > grace + 1
            assert int(env["APP_SHUTDOWN_DELAY_SECONDS"]) <= grace / 2
    assert SERVICES


def test_callers_and_callees_are_those_that_the_code_declares(charts: Charts) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "orders"}}}
    gateway = one(charts.service("gateway"), "NetworkPolicy", "gateway")["spec"]
    (rule,) = [rule for rule in gateway["egress"] if peer in rule["to"]]
    facts = yaml.safe_load(
        (ROOT / "services/orders/deploy/facts.yaml").read_text(encoding="utf-8")
    )["facts"]
    assert rule["ports"] == [{"port": facts["grpc"]["port"]}]

    orders = one(charts.service("orders"), "NetworkPolicy", "orders")["spec"]
    admitted = {
        value: [port["port"] for port in rule["ports"]]
        for rule in orders["ingress"]
        for source in rule["from"]
        for expression in source.get("podSelector", {}).get("matchExpressions", [])
        for value in expression["values"]
    }
    assert admitted == {"orders-test": ["http", "grpc"], "gateway": ["grpc"]}
    assert not [rule for rule in orders["egress"] if not rule.get("to")]


@pytest.mark.parametrize(
    ("given", "whenDeleted"), [((), "Delete"), (("whenDeleted=Retain",), "Retain")]
)
def test_claims_end_with_their_server_in_development_unless_values_say_otherwise(
    charts: Charts, given: tuple[str, ...], whenDeleted: str
) -> None:
    for name in ("nats", "postgresql"):
        sets = [f"{name}.storage.{each}" for each in given]
        spec = one(charts.umbrella("development", *sets), "StatefulSet", name)["spec"]
        assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": whenDeleted,
            "whenScaled": "Retain",
        }
    values = yaml.safe_load((charts.folder / "slipway/values.yaml").read_text(encoding="utf-8"))
    assert {values[name]["storage"]["whenDeleted"] for name in ("nats", "postgresql")} == {"Retain"}


INGRESS = (
    "entry.kind=ingress",
    "networkPolicy.entry[0].namespaceSelector.matchLabels.name=ingress",
)
API = ["/docs", "/openapi.json", "/orders", "/products"]
"""The paths of the gateway's API, as its code declares it."""


def test_the_entry_is_admitted_whatever_its_kind_and_only_where_there_is_one(
    charts: Charts,
) -> None:
    def admitted(*sets: str) -> list[Document]:
        policy = one(charts.service("gateway", "development", *sets), "NetworkPolicy", "gateway")
        return [
            peer
            for rule in policy["spec"]["ingress"]
            for peer in rule["from"]
            if "namespaceSelector" in peer
            and peer["namespaceSelector"] != {"matchLabels": MONITORING}
        ]

    assert admitted("entry.kind=none") == []
    (gateway,) = admitted("entry.kind=gateway")
    (label,) = gateway["podSelector"]["matchExpressions"]
    assert label["key"] == "gateway.networking.k8s.io/gateway-name"
    assert admitted(*INGRESS) == [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]
    with pytest.raises(Refused, match=r"networkPolicy\.entry is missing"):
        admitted("entry.kind=ingress")


MONITORING = {"kubernetes.io/metadata.name": "monitoring"}


def test_a_gateway_leads_to_the_api_that_the_code_declares_and_to_nothing_else(
    charts: Charts,
) -> None:
    route = one(
        charts.service("gateway", "development", "entry.kind=gateway"), "HTTPRoute", "gateway"
    )
    (rule,) = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": path}} for path in API]


def test_an_ingress_leads_to_the_api_that_the_code_declares_and_to_nothing_else(
    charts: Charts,
) -> None:
    ingress = one(charts.service("gateway", "development", *INGRESS), "Ingress", "gateway")
    (rule,) = ingress["spec"]["rules"]
    found = [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
    assert found == [(path, "Prefix") for path in API]


@pytest.mark.parametrize(
    ("declared", "given", "leads"),
    [
        ("{/orders,/products}", "{/orders}", {"/orders": "PathPrefix"}),
        ("{/orders,/products}", "{/orders/}", {"/orders": "PathPrefix"}),
        ("{/orders,/products}", "{/orders/mine}", {"/orders/mine": "PathPrefix"}),
        ("{/orders/mine,/products}", "{/orders}", {"/orders/mine": "PathPrefix"}),
        ("{/,/orders}", "{/}", {"/": "Exact", "/orders": "PathPrefix"}),
        ("{/*}", "{/blog}", {"/blog": "PathPrefix"}),
    ],
)
def test_the_entry_leads_where_its_values_and_the_code_agree(
    charts: Charts, declared: str, given: str, leads: dict[str, str]
) -> None:
    sets = (f"facts.http.paths={declared}", f"entry.paths={given}", "entry.kind=gateway")
    route = one(charts.service("gateway", "development", *sets), "HTTPRoute", "gateway")
    matches = [match["path"] for match in route["spec"]["rules"][0]["matches"]]
    assert {match["value"]: match["type"] for match in matches} == leads


@pytest.mark.parametrize(
    ("declared", "given", "why"),
    [
        ("{/orders}", "{/order}", r"/order is not a path of gateway: .* declares /orders"),
        ("{/orders}", "{/metrics}", r"/metrics is not a path of gateway"),
        ("{/*}", "{/}", r"would lead to /metrics and the probes"),
        ("{/*}", "{/metrics}", r"would lead to /metrics and the probes"),
    ],
)
def test_an_entry_that_would_lead_elsewhere_is_refused(
    charts: Charts, declared: str, given: str, why: str
) -> None:
    sets = (f"facts.http.paths={declared}", f"entry.paths={given}", "entry.kind=gateway")
    with pytest.raises(Refused, match=why):
        charts.service("gateway", "development", *sets)


def test_migrations_run_once_where_values_say(charts: Charts) -> None:
    def migrating(documents: list[Document]) -> list[str]:
        return [
            name
            for name, spec in pods(documents)
            for container in [*spec["containers"], *spec.get("initContainers", [])]
            if container.get("args", [""])[0] == "migrate"
        ]

    def rendered(how: str) -> list[Document]:
        return charts.service("orders", "development", f"database.migrations={how}")

    assert migrating(rendered("init")) == ["Deployment/orders"]
    assert migrating(rendered("job")) == ["Job/orders-migrate"]
    hook = one(rendered("job"), "Job", "orders-migrate")["metadata"]["annotations"]
    assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_migrations_are_given_the_settings_of_secrets_as_the_service_is(charts: Charts) -> None:
    sets = ("settingSecrets[0]=further", "database.migrationSecret=owner")
    rendered = charts.service("orders", "development", *sets)
    spec = one(rendered, "Deployment", "orders")["spec"]["template"]["spec"]
    (migrate,), (app,) = spec["initContainers"], spec["containers"]
    assert secrets_of(spec, migrate) == ["owner", "further"]
    assert secrets_of(spec, app) == ["orders-database", "further"]

    rendered = charts.service("orders", "development", *sets, "database.migrations=job")
    spec = one(rendered, "Job", "orders-migrate")["spec"]["template"]["spec"]
    assert secrets_of(spec, spec["containers"][0]) == ["owner", "further"]


def secrets_of(spec: Document, container: Document) -> list[str]:
    """The Secrets whose keys the container reads as settings."""
    (mount,) = [
        each for each in container["volumeMounts"] if each["mountPath"] == "/etc/slipway/settings"
    ]
    (volume,) = [each for each in spec["volumes"] if each["name"] == mount["name"]]
    return [source["secret"]["name"] for source in volume["projected"]["sources"]]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["nats.streams=pre", "postgresql.enabled=false"], "broker comes with the release"),
        (["nats.streams=pre", "nats.enabled=false"], "database comes with the release"),
        (["database.migrations=job"], "Set global.database.migrations=init"),
    ],
)
def test_no_hook_waits_for_what_only_its_own_release_brings(
    charts: Charts, sets: list[str], said: str
) -> None:
    below_global = [each if ".enabled" in each else f"global.{each}" for each in sets]
    with pytest.raises(Refused, match=said):
        charts.umbrella("development", *below_global)
    elsewhere = [
        f"global.{each}.peers[0].podSelector.matchLabels.app=other" for each in ("nats", "database")
    ]
    assert charts.umbrella("development", *below_global, *elsewhere)


def test_a_hook_may_reach_what_its_command_asks_and_waits_for_it(charts: Charts) -> None:
    rendered = charts.service("orders", "production")
    policy = one(rendered, "NetworkPolicy", "orders-streams")["spec"]
    (pod,) = [spec for name, spec in pods(rendered) if name == "Job/orders-streams"]
    labels = one(rendered, "Job", "orders-streams")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert {4222, 5432} <= ports
    assert pod["containers"][0]["args"] == ["broker", "apply", "--wait", "120"]
    # Migrations come first, because streams record which events their tables say were sent.
    weights = {
        name: int(one(rendered, "Job", name)["metadata"]["annotations"]["helm.sh/hook-weight"])
        for name in ("orders-migrate", "orders-streams")
    }
    assert weights["orders-migrate"] < weights["orders-streams"]


def test_every_template_works_with_the_values_in_force() -> None:
    for file in Path(ROOT, "deploy/helm/service/templates").rglob("*"):
        if file.suffix in (".yaml", ".txt"):
            first = file.read_text(encoding="utf-8").splitlines()[0]
            assert first == '{{- include "service.prepare" . -}}', file


def test_the_schema_knows_every_value_and_no_other() -> None:
    chart = ROOT / "deploy/helm/service"
    defaults = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))["defaults"]
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    assert names(defaults, schema["$defs"]["values"], schema["$defs"]) == []


def names(values: Document, schema: Document, definitions: Document, path: str = "") -> list[str]:
    """Return the names that only one of the two has; an empty map may get any of the schema's."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    known = schema.get("properties", {})
    found = [f"{path}{key}" for key in set(values) ^ set(known)] if known and values else []
    for key in set(values) & set(known):
        if isinstance(values[key], dict):
            found += names(values[key], known[key], definitions, f"{path}{key}.")
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_umbrella_gives_all_services_what_a_release_of_one_is_given(environment: str) -> None:
    helm = ROOT / "deploy/helm"
    alone = yaml.safe_load((helm / f"environments/{environment}.yaml").read_text(encoding="utf-8"))
    all_of_them = (helm / f"slipway/values-{environment}.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(all_of_them)["global"] == alone


def test_a_value_that_nothing_explains_is_refused(tmp_path: Path) -> None:
    chart = tmp_path / "deploy/helm/service"
    chart.mkdir(parents=True)
    (chart / "values.yaml").write_text(
        "defaults:\n  # Explained.\n  a: 1\n  b: 2\n", encoding="utf-8"
    )
    with pytest.raises(DevkitError, match=r"line 4: b has no comment"):
        list(chart_readme.artifacts(PlatformDescription(root=tmp_path, services=(), lanes=1)))


def test_the_alerts_of_all_services_come_with_one_release(charts: Charts) -> None:
    rendered = [each for name in SERVICES for each in charts.service(name, "production")]
    (rule,) = [each for each in rendered if each["kind"] == "PrometheusRule"]
    alerts = (ROOT / "deploy/helm/service/files/alerts.yaml").read_text(encoding="utf-8")
    assert rule["spec"]["groups"] == yaml.safe_load(alerts)["groups"]
