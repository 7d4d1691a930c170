"""The API server accepts the charts, and a release of one service runs all its hooks."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from charts import ENVIRONMENTS, ROOT, SERVICES, Charts
from mesh import has_istio

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Document = dict[str, Any]

# Kinds of optional operators, which a cluster may not know.
_OPERATORS = {"PrometheusRule", "ScaledObject", "ServiceMonitor"}


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


@pytest.fixture(scope="session")
def kinds(cluster: None) -> set[str]:
    """Return the kinds that this cluster knows."""
    lines = run("kubectl", "api-resources", "--no-headers").splitlines()
    return {line.split()[-1] for line in lines}


@pytest.mark.parametrize("release", ["umbrella", *SERVICES])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_api_server_takes_everything_without_a_warning(
    charts: Charts, kinds: set[str], namespace: Namespace, environment: str, release: str
) -> None:
    together = release == "umbrella"
    rendered = charts.umbrella(environment) if together else charts.service(release, environment)
    # A test's pod needs its ServiceAccount, which a dry run does not create.
    known = [each for each in rendered if each["kind"] in kinds - {"Pod"}]
    assert {each["kind"] for each in rendered if each not in known} <= _OPERATORS | {"Pod"}

    namespace.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "--filename=-"),
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": known}),
    )


@pytest.fixture
def servers(charts: Charts, namespace: Namespace) -> Namespace:
    """A namespace with a broker and a database, as a release of its own."""
    chart = charts.folder / "slipway"
    without = [f"--set={name}.enabled=false" for name in SERVICES]
    storage = [f"--set={name}.storage.enabled=false" for name in ("nats", "postgresql")]
    values = f"--values={chart}/values-development.yaml"
    namespace.helm("install", "servers", str(chart), values, *without, *storage, "--wait")
    return namespace


def test_a_release_of_one_service_migrates_and_makes_its_streams_before_it_starts(
    servers: Namespace, charts: Charts, tag: str
) -> None:
    def install(verb: str, *sets: str) -> None:
        files = [
            ROOT / "services/orders/deploy/facts.yaml",
            ROOT / "services/orders/deploy/values.yaml",
            charts.folder / "environments/development.yaml",
        ]
        given = [
            f"image.registry={os.environ.get('REGISTRY', 'localhost:5000')}",
            f"image.tag={tag}",
            "database.migrations=job",
            "nats.streams=pre",
            *sets,
        ]
        servers.helm(
            *(verb, "orders", str(charts.folder / "service"), "--wait", "--timeout=240s"),
            *(f"--values={file}" for file in files),
            *(f"--set={each}" for each in given),
        )

    install("install")
    (pod,) = servers.pods("app=orders")
    assert pod.ready
    assert "gRPC health" in servers.helm("test", "orders", "--logs")
    # The hook's work remains, and its objects are deleted.
    assert servers.read("jobs")["items"] == []
    assert streams_are_there(servers)

    install("upgrade", "settings.APP_LOG_LEVEL=DEBUG")
    servers.helm("rollback", "orders", "--wait")
    assert streams_are_there(servers)


def streams_are_there(namespace: Namespace) -> bool:
    """Return whether the broker has the service's own streams."""
    command = ("exec", "deploy/orders", "--container=app", "--")
    try:
        namespace.kubectl(*command, "python", "-m", "orders", "broker", "apply", "--check")
    except ToolFailed:
        return False
    return True


@pytest.mark.parametrize("api", ["istio", "gateway"])
def test_the_api_server_takes_a_canary_and_its_routes(
    make_namespace: Callable[[], Namespace], charts: Charts, api: str
) -> None:
    if not has_istio():
        pytest.skip("the cluster has no Istio with the Gateway API")
    method = "shop.inventory.v1.InventoryService/GetProduct"
    sets = (
        f"mesh.api={api}",
        "mesh.enabled=true",
        "autoscaling.kind=hpa",
        "canary.image.tag=v2",
        "canary.weight=10",
        "canary.match[0].end-user.exact=jason",
        "canary.mirror.percent=50",
        f"canary.mirror.methods={{{method}}}",
    )
    namespace = make_namespace()
    rendered = charts.service("inventory", "development", *sets)
    applied = [each for each in rendered if each["kind"] != "Pod"]
    names = [(each["kind"], each["metadata"]["name"]) for each in applied]
    assert len(names) == len(set(names))
    try:
        namespace.apply(*applied)
    except ToolFailed as error:
        pytest.fail(str(error))
    deployments = namespace.read("deployments")["items"]
    assert {each["metadata"]["name"] for each in deployments} == {"inventory", "inventory-canary"}
