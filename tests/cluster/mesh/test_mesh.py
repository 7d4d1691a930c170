"""The mesh admits callers by certificate, by policy and by network."""

import json
import time
from collections.abc import Callable

import pytest
from mesh import METRICS_PORT, Answers, Mesh

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import missing, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LIST_PRODUCTS = "/shop.inventory.v1.InventoryService/ListProducts"
LEDGER = "/slipway.v1.LedgerService/GetEventLedger"
# Errors of a client without a certificate at a sidecar that requires one.
HUNG_UP = {"ConnectionResetError", "RemoteDisconnected"}
# Errors of a client that a NetworkPolicy refuses; they depend on its implementation.
NOT_REACHED = {"ConnectionRefusedError", "TimeoutError"}


@pytest.fixture(scope="module")
def outside(mesh: Mesh) -> str:
    """A pod that the NetworkPolicies admit and that has no sidecar."""
    mesh.start_pod("outside", app="stranger", injected=False)
    return "outside"


def eventually(seen: Callable[[], object], expected: object) -> None:
    """Wait until `seen` returns `expected`, because a policy takes effect a moment later."""
    ends_at = time.monotonic() + 60
    while (last := seen()) != expected:
        assert time.monotonic() < ends_at, f"{last!r} is not {expected!r}"
        time.sleep(0.5)


def only(answers: Answers) -> str:
    """Return the answer that all requests got."""
    (answer,) = answers.counts
    return answer


def test_a_pod_outside_the_mesh_is_hung_up_on(mesh: Mesh, outside: str) -> None:
    for host, port in (("gateway", 8080), ("inventory", 8082), ("inventory", 9082)):
        answer = only(mesh.ask("/livez", host=host, port=port, pod=outside))
        assert answer in HUNG_UP, f"{host}:{port}"


def test_a_declared_caller_may_call_what_it_declares_and_nothing_else(mesh: Mesh) -> None:
    def code(path: str) -> str:
        return mesh.call("inventory:9082", path, where="deployment/gateway", container="app")

    assert code(LIST_PRODUCTS) == "OK"
    assert code(LEDGER) == "PERMISSION_DENIED"
    assert code("/grpc.health.v1.Health/Check") == "PERMISSION_DENIED"


def test_who_declares_no_call_is_refused_by_the_mesh(mesh: Mesh) -> None:
    """The NetworkPolicies admit this pod, so that it is the mesh that refuses it."""
    code = mesh.call("inventory:9082", LIST_PRODUCTS, where="pod/stranger", container="client")
    assert code == "PERMISSION_DENIED"
    for host, port in (("inventory", 8082), ("gateway", 8080)):
        answers = mesh.ask("/livez", host=host, port=port, pod="stranger")
        assert only(answers) == "403", host


def test_who_declares_no_call_is_refused_by_the_network_too(mesh: Mesh) -> None:
    mesh.start_pod("payments", app="payments", injected=False)
    for port in (8082, 9082, METRICS_PORT):
        answers = mesh.ask("/livez", host="inventory", port=port, pod="payments")
        assert only(answers) in NOT_REACHED, port


def test_a_further_caller_that_the_values_name_is_admitted(mesh: Mesh) -> None:
    assert only(mesh.ask("/livez")) == "200"
    assert only(mesh.ask("/livez", host="inventory", port=8082)) == "200"
    code = mesh.call("inventory:9082", LIST_PRODUCTS, where="pod/visitor", container="client")
    assert code == "PERMISSION_DENIED", "no gRPC service is named for it"


def test_monitoring_reads_metrics_without_a_certificate_and_nothing_else(
    mesh: Mesh, monitoring: Namespace
) -> None:
    mesh.start_pod("prometheus", app="prometheus", injected=False, namespace=monitoring)
    there = Mesh(monitoring, mesh.registry, "")
    domain = mesh.namespace.name

    def seen(service: str, port: int, path: str) -> str:
        host = f"{service}.{domain}"
        return only(there.ask(path, host=host, port=port, pod="prometheus"))

    assert seen("gateway", METRICS_PORT, "/metrics") == "200"
    assert seen("inventory", METRICS_PORT, "/metrics") == "200"
    assert seen("inventory", METRICS_PORT, "/anything-else") == "403"
    assert seen("inventory", 8082, "/livez") in NOT_REACHED
    assert seen("inventory", 9082, "/livez") in NOT_REACHED


def test_the_entry_leads_to_the_api_and_not_to_probes(mesh: Mesh) -> None:
    def through(path: str) -> str:
        return only(mesh.ask(path, host="slipway-istio", port=80)).split()[0]

    eventually(lambda: through("/products?limit=1"), "200")
    for path in ("/livez", "/readyz", "/startupz", "/metrics"):
        assert through(path) in {"403", "404"}, path


def test_what_is_installed_leaves_nothing_to_complain_of(mesh: Mesh) -> None:
    if lines := missing(("istioctl",)):
        pytest.skip("; ".join(lines))
    said = run("istioctl", "analyze", "--namespace", mesh.namespace.name, "--output=json")
    assert json.loads(said or "[]") in ([], None)
