"""One release renders a service's two tracks: its stable version, and its canary."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import HELMS, ROOT, SERVICES, Charts, Refused, env_of, pods

pytestmark = pytest.mark.skipif(not HELMS, reason="helm is not on the PATH")

Document = dict[str, Any]
CANARY = "canary.image.tag=v2"


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def names(documents: list[Document]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in documents}


def app(documents: list[Document], deployment: str) -> Document:
    """The service's container in the pods of a Deployment."""
    pod = one(documents, "Deployment", deployment)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return dict(container)


@pytest.mark.parametrize("service", SERVICES)
def test_a_canary_adds_its_own_objects_and_takes_none_away(charts: Charts, service: str) -> None:
    before = names(charts.service(service, "production"))
    added = names(charts.service(service, "production", CANARY)) - before
    assert before <= names(charts.service(service, "production", CANARY))
    kinds = {"Deployment", "ScaledObject", "PodDisruptionBudget", "Service"}
    # The gateway reads no lanes, and has an entry from outside.
    kinds |= {"DestinationRule"} if service == "gateway" else {"ConfigMap"}
    assert added == {(kind, f"{service}-canary") for kind in kinds}


@pytest.mark.parametrize("service", SERVICES)
def test_the_stable_deployment_is_the_same_with_and_without_a_canary(
    charts: Charts, service: str
) -> None:
    settings = (CANARY, "canary.weight=50", "canary.replicas=3", "canary.settings.APP_A=b")
    alone, beside = charts.service(service), charts.service(service, "development", *settings)
    assert one(alone, "Deployment", service) == one(beside, "Deployment", service)


def test_a_canary_has_the_version_of_its_image_and_its_own_values(charts: Charts) -> None:
    sets = (
        "image.registry=registry.example",
        "image.tag=v1",
        CANARY,
        "canary.replicas=3",
        "settings.APP_A=a",
        "settings.APP_B=b",
        "canary.settings.APP_B=c",
        "canary.resources.limits.memory=1Gi",
    )
    rendered = charts.service("orders", "development", *sets)
    deployment = one(rendered, "Deployment", "orders-canary")
    assert deployment["spec"]["replicas"] == 3
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/version"] == "v2"
    assert (labels["app"], labels["track"]) == ("orders", "canary")
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": "orders", "track": "canary"}
    container = app(rendered, "orders-canary")
    assert container["image"] == "registry.example/slipway-orders:v2"
    env = env_of(container)
    assert (env["APP_VERSION"], env["APP_A"], env["APP_B"]) == ("v2", "a", "c")
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert container["resources"]["requests"] == app(rendered, "orders")["resources"]["requests"]
    assert env_of(app(rendered, "orders"))["APP_VERSION"] == "v1"


@pytest.mark.parametrize(
    ("image", "reference", "version"),
    [
        (("canary.image.tag=1.2",), "slipway-orders:1.2", "1.2"),
        (
            (f"canary.image.digest=sha256:{64 * 'a'}",),
            f"slipway-orders@sha256:{64 * 'a'}",
            12 * "a",
        ),
        (
            ("image.reference=r.example/o:1.1", "canary.image.reference=r.example/o:1.2"),
            "r.example/o:1.2",
            "1.2",
        ),
        (
            (f"canary.image.reference=r.example/o@sha256:{64 * 'b'}",),
            f"r.example/o@sha256:{64 * 'b'}",
            12 * "b",
        ),
    ],
)
def test_a_canary_is_named_by_a_tag_or_a_digest_or_a_reference(
    charts: Charts, image: tuple[str, ...], reference: str, version: str
) -> None:
    container = app(
        charts.service("orders", "development", "image.tag=1.1", *image), "orders-canary"
    )
    assert (container["image"], env_of(container)["APP_VERSION"]) == (reference, version)


def test_a_canary_may_have_the_image_of_the_stable_version(charts: Charts) -> None:
    """A promotion gives the stable version the canary's image while the canary serves."""
    sets = ("image.tag=v2", CANARY, "canary.weight=50")
    rendered = charts.service("orders", "development", *sets)
    stable, canary = app(rendered, "orders"), app(rendered, "orders-canary")
    assert stable["image"] == canary["image"]
    assert "APP_EVENT_WEIGHT_FILE" not in env_of(stable)
    assert "APP_EVENT_WEIGHT_FILE" in env_of(canary)


def test_promotion_restarts_no_pod_of_the_canary(charts: Charts) -> None:
    def canary(*sets: str) -> Document:
        return one(charts.service("orders", "production", *sets), "Deployment", "orders-canary")

    weighted = (CANARY, "canary.weight=100")
    assert canary("image.tag=v1", *weighted) == canary("image.tag=v2", *weighted)


def test_a_canary_mounts_the_share_of_the_events_that_it_takes(charts: Charts) -> None:
    rendered = charts.service("orders", "production", CANARY, "canary.weight=30")
    assert one(rendered, "ConfigMap", "orders-canary")["data"] == {"weight": "30"}
    pod = one(rendered, "Deployment", "orders-canary")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folder, _, key = env_of(container)["APP_EVENT_WEIGHT_FILE"].rpartition("/")
    assert key == "weight"
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == folder]
    # The kubelet does not refresh a file that is mounted by itself.
    assert "subPath" not in mount
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["configMap"] == {"name": "orders-canary"}


def test_a_changed_weight_restarts_no_pod(charts: Charts) -> None:
    def deployments(weight: int) -> list[Document]:
        rendered = charts.service("orders", "production", CANARY, f"canary.weight={weight}")
        return [each for each in rendered if each["kind"] == "Deployment"]

    assert deployments(10) == deployments(50)


def test_a_canary_takes_no_events_unless_its_weight_is_set(charts: Charts) -> None:
    rendered = charts.service("orders", "production", CANARY)
    assert one(rendered, "ConfigMap", "orders-canary")["data"] == {"weight": "0"}


def test_a_service_without_handlers_has_no_weight_of_events(charts: Charts) -> None:
    rendered = charts.service("gateway", "production", CANARY, "canary.weight=30")
    assert not [each for each in rendered if each["kind"] == "ConfigMap"]
    assert "APP_EVENT_WEIGHT_FILE" not in yaml.safe_dump_all(rendered)


@pytest.mark.parametrize(
    ("kind", "scaler"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")]
)
def test_each_track_has_a_scaler_of_its_own(charts: Charts, kind: str, scaler: str) -> None:
    sets = (f"autoscaling.kind={kind}", CANARY, "canary.autoscaling.minReplicas=1")
    rendered = charts.service("orders", "development", *sets)
    stable, canary = (one(rendered, scaler, name) for name in ("orders", "orders-canary"))
    assert stable["spec"]["scaleTargetRef"]["name"] == "orders"
    assert canary["spec"]["scaleTargetRef"]["name"] == "orders-canary"
    minimum = "minReplicas" if kind == "hpa" else "minReplicaCount"
    assert (stable["spec"][minimum], canary["spec"][minimum]) == (2, 1)
    for name in ("orders", "orders-canary"):
        assert "replicas" not in one(rendered, "Deployment", name)["spec"]


def test_a_scaler_counts_the_lag_of_its_own_track(charts: Charts) -> None:
    rendered = charts.service("orders", "development", "autoscaling.kind=keda", CANARY)

    def query(name: str) -> str:
        triggers = one(rendered, "ScaledObject", name)["spec"]["triggers"]
        (found,) = [t["metadata"]["query"] for t in triggers if t["type"] == "prometheus"]
        return str(found)

    pods = 'namespace="shop",job="orders"'
    assert query("orders") == f'sum(event_lag{{{pods},track!="canary"}})'
    assert query("orders-canary") == f'sum(event_lag{{{pods},track="canary"}})'


def test_a_canary_that_is_not_ready_blocks_no_drain_of_the_stable_pods(charts: Charts) -> None:
    rendered = charts.service("orders", "production", CANARY)
    for name, track in (("orders", "stable"), ("orders-canary", "canary")):
        budget = one(rendered, "PodDisruptionBudget", name)["spec"]
        assert budget["selector"] == {"matchLabels": {"app": "orders", "track": track}}


@pytest.mark.parametrize("mesh", ["mesh.enabled=true", "mesh.enabled=false", "mesh.api=gateway"])
def test_monitoring_finds_each_pod_by_one_service_with_its_track_and_version(
    charts: Charts, mesh: str
) -> None:
    sets = (CANARY, mesh, "entry.paths={/}", "facts.http.paths={/orders}")
    rendered = charts.service("orders", "production", *sets)
    monitor = one(rendered, "ServiceMonitor", "orders")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    services = [
        each["spec"]["selector"]
        for each in rendered
        if each["kind"] == "Service" and wanted <= each["metadata"]["labels"].items()
    ]
    for track in ("stable", "canary"):
        labels = {"app": "orders", "track": track}.items()
        assert len([each for each in services if each.items() <= labels]) == 1, track
    assert monitor["podTargetLabels"] == ["track"]
    (endpoint,) = monitor["endpoints"]
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["version"]


def test_hooks_run_with_the_newest_image(charts: Charts) -> None:
    def images(*sets: str) -> set[str]:
        rendered = charts.service("orders", "production", "image.tag=v1", *sets)
        return {
            spec["containers"][0]["image"]
            for name, spec in pods(rendered)
            if name in ("Job/orders-migrate", "Job/orders-streams", "CronJob/orders-streams-again")
        }

    again = "nats.streamsSchedule=* * * * *"
    assert images(again) == {"slipway-orders:v1"}
    assert images(again, CANARY) == {"slipway-orders:v2"}


def test_a_hook_waits_for_no_object_that_only_its_own_release_brings(charts: Charts) -> None:
    rendered = charts.service("orders", "production", CANARY, "canary.weight=10")
    for name, spec in pods(rendered):
        if name.startswith("Job/"):
            assert not [each for each in spec["volumes"] if "configMap" in each], name


def test_without_routes_no_request_goes_to_the_canary(charts: Charts) -> None:
    rendered = charts.service("orders", "development", CANARY, "canary.weight=50")
    for name in ("orders", "orders-headless"):
        selector = one(rendered, "Service", name)["spec"]["selector"]
        assert selector == {"app": "orders", "track": "stable"}


def test_requests_from_outside_are_divided_by_the_weight(charts: Charts) -> None:
    sets = ("entry.kind=gateway", CANARY, "canary.weight=10")
    (rule,) = one(charts.service("gateway", "development", *sets), "HTTPRoute", "gateway")["spec"][
        "rules"
    ]
    assert rule["backendRefs"] == [
        {"name": "gateway-canary", "port": 8080, "weight": 10},
        {"name": "gateway", "port": 8080, "weight": 90},
    ]


def test_a_header_leads_from_outside_to_the_canary_on_every_path(charts: Charts) -> None:
    header = "canary.match[0].end-user.exact=jason"
    sets = ("entry.kind=gateway", CANARY, "canary.matchAtZero=true", header)
    matched, rest = one(charts.service("gateway", "development", *sets), "HTTPRoute", "gateway")[
        "spec"
    ]["rules"]
    assert [each["path"] for each in matched["matches"]] == [
        each["path"] for each in rest["matches"]
    ]
    jason = [{"name": "end-user", "type": "Exact", "value": "jason"}]
    assert [each["headers"] for each in matched["matches"]] == [jason] * len(rest["matches"])
    assert [each["name"] for each in matched["backendRefs"]] == ["gateway-canary"]
    assert [each["name"] for each in rest["backendRefs"]] == ["gateway"]


def test_an_ingress_leads_to_the_stable_pods_only(charts: Charts) -> None:
    sets = (
        "entry.kind=ingress",
        "networkPolicy.entry[0].podSelector.matchLabels.app=controller",
        "entry.serviceAccounts={edge/controller}",
    )
    for mesh, service in (("false", "gateway"), ("true", "gateway-stable")):
        rendered = charts.service("gateway", "development", *sets, f"mesh.enabled={mesh}", CANARY)
        (rule,) = one(rendered, "Ingress", "gateway")["spec"]["rules"]
        assert {each["backend"]["service"]["name"] for each in rule["http"]["paths"]} == {service}
        assert one(rendered, "Service", service)["spec"]["selector"]["track"] == "stable"


def test_each_service_of_the_umbrella_may_have_a_canary(charts: Charts) -> None:
    rendered = charts.umbrella(
        "development", "orders.canary.image.tag=v2", "orders.canary.weight=10"
    )
    assert one(rendered, "ConfigMap", "orders-canary")["data"] == {"weight": "10"}
    deployments = {each["metadata"]["name"] for each in rendered if each["kind"] == "Deployment"}
    assert deployments == {*SERVICES, "orders-canary"}


def test_one_of_the_canaries_of_all_services_is_aborted_by_its_own_values(charts: Charts) -> None:
    all_of_them = ("global.canary.image.tag=v2", "global.canary.weight=10")
    abort = ("orders.canary.image.tag=", "orders.canary.weight=0")
    rendered = charts.umbrella("development", *all_of_them, *abort)
    deployments = {each["metadata"]["name"] for each in rendered if each["kind"] == "Deployment"}
    assert deployments == {*SERVICES, *(f"{name}-canary" for name in SERVICES if name != "orders")}


@pytest.mark.parametrize("weight", ["101", "-1", "1.5", "much"])
def test_a_weight_that_is_not_a_percentage_is_refused(charts: Charts, weight: str) -> None:
    with pytest.raises(Refused, match="weight"):
        charts.service("orders", "production", CANARY, f"canary.weight={weight}")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (("canary.weight=30",), r"there is no canary: set canary\.image\.tag"),
        ((CANARY, "image.reference=r/o:1"), r"canary\.image\.reference is missing"),
        (
            (CANARY, "autoscaling.kind=hpa", "canary.autoscaling.maxReplicas=21"),
            r"canary\.autoscaling\.maxReplicas \(21\) is above the number of lanes \(20\)",
        ),
        (
            (CANARY, "autoscaling.kind=hpa", "canary.autoscaling.maxReplicas=1"),
            r"canary\.autoscaling\.maxReplicas \(1\) is below minReplicas \(2\)",
        ),
        ((CANARY, "canary.match[0].a.exact=b"), r"canary\.match needs routes: set mesh\.enabled"),
        ((CANARY, "canary.match[0].A.exact=b"), r"'A' does not match"),
        ((CANARY, "canary.match[0].a.equals=b"), r"equals"),
        (("canary.image.tga=1",), r"tga"),
    ],
)
def test_values_of_a_canary_that_contradict_each_other_are_refused(
    charts: Charts, sets: tuple[str, ...], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        charts.service("orders", "development", *sets)


def notes(charts: Charts, service: str, *sets: str) -> str:
    """The notes that helm prints after an installation."""
    folder = Path(ROOT, "services", service, "deploy")
    files = [f"--values={folder / name}" for name in ("facts.yaml", "values.yaml")]
    chart = str(charts.folder / "service")
    options = (*files, *(f"--set={each}" for each in sets), "--dry-run=client", "--namespace=shop")
    return charts.run("install", service, chart, *options).partition("NOTES:")[2]


def test_the_notes_name_the_canary_its_weight_and_the_commands(charts: Charts) -> None:
    said = notes(charts, "orders", CANARY, "canary.weight=10")
    assert "The canary of orders is v2, in deployment/orders-canary, with the weight 10 %" in said
    assert "events: 10 % of the lanes" in said
    assert "requests inside the cluster: none" in said
    for command in ("status", "promote", "abort"):
        assert f"slipway canary {command} orders --namespace shop" in said
    assert "handles waits at its position" in said
    assert "canary" not in notes(charts, "orders")


def test_the_notes_of_the_umbrella_name_each_canary(charts: Charts) -> None:
    values = f"--values={charts.folder / 'slipway/values-development.yaml'}"
    sets = "--set=orders.canary.image.tag=v2,orders.canary.weight=10"
    chart = str(charts.folder / "slipway")
    said = charts.run("install", "all", chart, values, sets, "--dry-run=client", "--namespace=shop")
    said = said.partition("NOTES:")[2]
    assert said.count("The canary of ") == 1
    assert "The canary of orders is v2, in deployment/orders-canary, with the weight 10 %" in said
