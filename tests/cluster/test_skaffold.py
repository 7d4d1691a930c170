"""The real Skaffold on a cluster: built, rendered, run, verified, developed in, and deleted."""

import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from uuid import uuid4

import grpc
import pytest
import yaml
from cluster_node import Node
from cluster_volumes import volumes_for_the_platform
from debug_adapter import Debugger
from definitions import definitions, why_not_to_be_had
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from mesh import has_istio
from production_servers import start_broker, start_database
from skaffolds import ROOT, Living, clone_into, living, skaffold

from demo.cluster.entry import wait_open
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

SERVICES = [member.path.name for member in find_workspace(ROOT).services]
# The gateway and the services that it calls.
MODULES = ("gateway", "inventory", "orders")
HANDLER = "services/gateway/src/gateway/api.py"
SAVES = 5
LOAD_A_PRODUCT = """
import grpc
from shop.inventory.v1 import InventoryServiceStub, LoadProductsRequest, Product
from shop.money.v1 import Money
product = Product(sku="any", name="any", department="any", stock=1,
                  price=Money(amount=100, currency="USD"))
with grpc.insecure_channel("127.0.0.1:9082") as channel:
    InventoryServiceStub(channel).LoadProducts(LoadProductsRequest(products=[product]), timeout=10)
"""
# Prints how an order has ended.
ORDER = """
import json, sys, time, urllib.request
def ask(path, order=None):
    headers = {"content-type": "application/json"}
    body = order and json.dumps(order).encode()
    request = urllib.request.Request(sys.argv[1] + path, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
placed = ask("/orders", {"customer_id": "me", "lines": [{"sku": "any", "quantity": 1}]})
while (status := ask("/orders/" + placed["order_id"])["status"]) == "pending":
    time.sleep(0.2)
print(status)
"""
# Objects that Kubernetes adds to every namespace within a moment.
_EVERYWHERE = ("kube-root-ca.crt", "istio-ca-root-cert", "istio-ca-crl", "serviceaccount/default")


@pytest.fixture(scope="module", autouse=True)
def tools(cluster: None) -> None:
    missing = [tool for tool in ("skaffold", "docker", "make") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which Skaffold lists the images that it has built, including the demo's."""
    file = tmp_path_factory.mktemp("skaffold") / "builds.json"
    skaffold(ROOT, "build", f"--file-output={file}")
    return file


@pytest.mark.parametrize("profile", ["development", "production", "kustomize"])
def test_every_profile_renders_every_service_with_the_image_that_was_built(
    builds: Path, tmp_path: Path, profile: str
) -> None:
    rendered = tmp_path / "rendered.yaml"
    tags = {
        build["imageName"]: build["tag"]
        for build in yaml.safe_load(builds.read_text(encoding="utf-8"))["builds"]
    }

    skaffold(
        *(ROOT, "render", "--profile", profile, "--namespace=shop", f"--build-artifacts={builds}"),
        f"--output={rendered}",
    )

    documents = [each for each in yaml.safe_load_all(rendered.read_text(encoding="utf-8")) if each]
    deployments = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in documents
        if each["kind"] == "Deployment"
    }
    assert deployments == {name: tags[f"slipway-{name}"] for name in SERVICES}
    databases = {each["metadata"]["name"] for each in documents if each["kind"] == "StatefulSet"}
    assert databases == (set() if profile == "production" else {"nats", "postgresql"})


def test_what_runs_keeps_its_data_and_every_law_and_is_deleted_without_a_trace(
    builds: Path, namespace: Namespace, node: Node
) -> None:
    before = objects(namespace)
    where = (f"--namespace={namespace.name}", f"--build-artifacts={builds}")
    with volumes_for_the_platform(node, namespace):
        try:
            skaffold(ROOT, "deploy", *where, "--port-forward=off")
            skaffold(ROOT, "verify", *where)
            namespace.kubectl("delete", "pod", "nats-0", "postgresql-0")
            namespace.kubectl("rollout", "status", "statefulset/postgresql", "--timeout=120s")
            assert "1,000 orders before the replay" in skaffold(ROOT, "verify", *where)
        finally:
            skaffold(ROOT, "delete", f"--namespace={namespace.name}")
        namespace.kubectl("wait", "--for=delete", "pods", "--all", "--timeout=120s")
        namespace.kubectl(
            "wait", "--for=delete", "persistentvolumeclaims", "--all", "--timeout=120s"
        )
    assert objects(namespace) == before


def test_a_saved_handler_answers_and_the_forwarded_ports_lead_to_it(
    namespace: Namespace, tmp_path: Path
) -> None:
    copy = clone_into(tmp_path)
    handler = copy / HANDLER
    before = handler.read_text(encoding="utf-8")

    def save(text: str) -> None:
        changed = before.replace('description="', f'description="{text} ')
        assert changed != before
        handler.write_text(changed, encoding="utf-8")

    with living(copy, "dev", *options(namespace)) as dev:
        pods = running(namespace)
        took = []
        for number in range(SAVES):
            began = time.monotonic()
            save(f"at most so many: {number}")
            until_described(namespace, f"at most so many: {number}")
            took.append(time.monotonic() - began)
        print(f"from save to answer: {median(took):.1f} s (median of {SAVES})")

        # An error in a file is printed and the running program continues; a failed start is printed
        # too.
        handler.write_text(before + "\ndef (:\n", encoding="utf-8")
        dev.said("the program continues with the code before")
        handler.write_text(before + "\nraise ValueError('told')\n", encoding="utf-8")
        dev.said("ValueError: told")
        dev.said("the next change starts it again")
        save("so many and no more")
        until_described(namespace, "so many and no more")
        for name in MODULES:
            forwards_lead_to_it(dev, name)
        # The pod of the failed start was not ready for a while, and is still the same.
        namespace.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")
        assert running(namespace) == pods
    assert_nothing_runs(namespace)


def test_a_debugger_stops_in_a_handler_and_the_pod_stays_ready(
    namespace: Namespace, tmp_path: Path
) -> None:
    copy = clone_into(tmp_path)
    lines = (copy / HANDLER).read_text(encoding="utf-8").splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "ListProductsRequest(limit=limit" in text)

    with (
        living(copy, "debug", *options(namespace)) as debug,
        ThreadPoolExecutor(1) as browser,
    ):
        gateway = debug.forwarded("service/gateway", 8080)
        host, _, port = debug.forwarded("pod/gateway-", 5678).partition(":")
        pods = running(namespace)
        with Debugger(host, int(port)) as debugger:
            debugger.attach("/app/gateway/api.py", line)
            answer = browser.submit(status, f"http://{gateway}/products?limit=7")
            frame = debugger.stopped()
            assert (frame.function, frame.line) == ("list_products", line)
            assert debugger.evaluate("limit", frame) == "7"
            # Twice the time after which a pod that does not answer loses its readiness.
            time.sleep(30)
            assert running(namespace) == pods
            debugger.resume(frame)
            # The request exceeded its time limit meanwhile.
            assert answer.result() == 504
        # The debugger has disconnected, and the service continues.
        assert status(f"http://{gateway}/products?limit=7") == 200
    assert_nothing_runs(namespace)


def test_the_profile_production_runs_with_what_comes_from_outside(
    make_namespace: Callable[..., Namespace], tmp_path: Path
) -> None:
    if reason := why_not_to_be_had():
        pytest.skip(reason)
    if not has_istio():
        pytest.skip("the cluster has no Istio with the Gateway API")
    broker = make_namespace("privileged")
    # Without istio-cni a sidecar's init container changes the pod's network.
    shop = make_namespace("privileged", **{"istio-injection": "enabled"})
    copy = clone_into(tmp_path)
    edit(copy / "deploy/helm/environments/production.yaml", {
        "nats.nats:": f"nats.{broker.name}:",
        "metadata.name: nats": f"metadata.name: {broker.name}",
    })  # fmt: skip
    keys = str(tmp_path / "keys")
    secrets = run("slipway", "broker", "keys", "--out", keys, "--kubernetes")
    where = ("--profile=production", f"--namespace={shop.name}")

    with definitions():
        start_broker(broker, run("slipway", "broker", "permissions", "--keys", keys))
        start_database(shop, SERVICES)
        shop.kubectl("apply", "--filename=-", input=secrets)
        shop.kubectl("apply", f"--kustomize={copy}/deploy/istio")
        wait_open(shop)
        before = objects(shop)
        try:
            skaffold(copy, "run", *where, "--port-forward=off")
            shop.kubectl(*python("deploy/inventory", LOAD_A_PRODUCT))
            visitor = start_visitor(shop)
            assert_ended(shop.kubectl(*python(visitor, ORDER, "http://slipway-istio")))
            shop.kubectl("delete", visitor)
        finally:
            skaffold(copy, "delete", *where)
        shop.kubectl("wait", "--for=delete", "pods", "--selector=track", "--timeout=120s")
        assert objects(shop) - before == set()


def test_the_profile_kustomize_runs_and_takes_its_namespace_away(
    cluster: None, node: Node, tmp_path: Path
) -> None:
    copy = clone_into(tmp_path)
    namespace = Namespace(f"{os.environ.get('CLUSTER_TEST_PREFIX', 'test')}-{uuid4().hex[:8]}")
    overlay = copy / "deploy/k8s/overlays/development"
    for file in overlay.glob("*.yaml"):
        edit(file, {"slipway-development": namespace.name})
    secrets = (copy / "deploy/k8s/secrets.example.yaml").read_text(encoding="utf-8")
    try:
        run("kubectl", "apply", f"--filename={overlay}/namespace.yaml")
        namespace.kubectl("apply", "--filename=-", input=secrets.replace("change-me", uuid4().hex))
        with volumes_for_the_platform(node, namespace):
            skaffold(copy, "run", "--profile=kustomize", "--port-forward=off")
            namespace.kubectl(*python("deploy/inventory", LOAD_A_PRODUCT))
            assert_ended(
                namespace.kubectl(*python("deploy/gateway", ORDER, "http://127.0.0.1:8080"))
            )
            skaffold(copy, "delete", "--profile=kustomize")
            wait = ("--for=delete", f"namespace/{namespace.name}", "--timeout=120s")
            run("kubectl", "wait", *wait)
    finally:
        namespace.delete()


def edit(file: Path, changes: Mapping[str, str]) -> None:
    """Replace texts that a user would replace; each of them must be present."""
    text = file.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text, f"{file}: {before}"
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")


def start_visitor(namespace: Namespace) -> str:
    """Start a pod that no policy admits, and return its name for kubectl."""
    gateway = namespace.read("deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    container = {"name": "app", "image": gateway["image"], "command": ["sleep", "infinity"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "visitor"}, "spec": spec}
    )
    namespace.kubectl("wait", "--for=condition=Ready", "pod/visitor", "--timeout=120s")
    return "pod/visitor"


def python(where: str, program: str, *arguments: str) -> tuple[str, ...]:
    """Return kubectl's arguments to run a program in a pod."""
    return ("exec", where, "--container=app", "--", "python", "-c", program, *arguments)


def assert_ended(status: str) -> None:
    assert status.strip() in {"confirmed", "cancelled"}


def options(namespace: Namespace) -> tuple[str, ...]:
    modules = f"--module={','.join(MODULES)}"
    return (f"--namespace={namespace.name}", modules, "--profile=without-volumes")


def running(namespace: Namespace) -> set[tuple[str, bool, int]]:
    """Return each pod with its readiness and the number of its containers' restarts."""
    return {
        (
            pod["metadata"]["name"],
            all(container["ready"] for container in pod["status"]["containerStatuses"]),
            sum(container["restartCount"] for container in pod["status"]["containerStatuses"]),
        )
        for pod in namespace.read("pods")["items"]
    }


def assert_nothing_runs(namespace: Namespace) -> None:
    namespace.kubectl("wait", "--for=delete", "pods", "--all", "--timeout=120s")
    assert namespace.helm("list", "--short").split() == []


def forwards_lead_to_it(dev: Living, service: str) -> None:
    """Check that each forwarded port of the service answers on this machine."""
    file = ROOT / "services" / service / "deploy/skaffold.yaml"
    forwards = yaml.safe_load(file.read_text(encoding="utf-8"))["portForward"]
    http, *others = (dev.forwarded(f"service/{service}", each["port"]) for each in forwards)
    until_answered(f"http://{http}/livez")
    for address in others:
        with grpc.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def until_answered(url: str) -> None:
    deadline = time.monotonic() + 60
    while status(url) != 200:
        assert time.monotonic() < deadline, url
        # More frequent requests would break the forward: see until_described.
        time.sleep(3)


def status(url: str) -> int | None:
    """Return the status of the answer; None without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def until_described(namespace: Namespace, text: str) -> None:
    """Wait until the gateway's own description contains this text.

    The request is made in its pod: a forward breaks if no process listens on its port, and Skaffold
    restores it seconds later.
    """
    program = (
        "import sys, time, urllib.request\n"
        "for _ in range(2400):\n"
        "    try:\n"
        "        with urllib.request.urlopen('http://127.0.0.1:8080/openapi.json') as answer:\n"
        "            if sys.argv[1] in answer.read().decode(): break\n"
        "    except OSError: pass\n"
        "    time.sleep(0.05)\n"
        "else: sys.exit('never answered')\n"
    )
    command = ("exec", "deploy/gateway", "--container=app", "--", "python", "-c", program, text)
    namespace.kubectl(*command, seconds=180)


def objects(namespace: Namespace) -> set[str]:
    """Return the objects in a namespace, except those that Kubernetes adds."""
    kinds = namespace.kubectl(
        "api-resources", "--namespaced", "--verbs=list,delete", "--output=name"
    )
    asked = [kind for kind in kinds.split() if not kind.startswith(("events", "pods.metrics"))]
    found = namespace.kubectl("get", ",".join(asked), "--output=name", "--ignore-not-found")
    return {name for name in found.split() if not name.endswith(_EVERYWHERE)}
