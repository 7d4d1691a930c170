"""The gateway and inventory in an Istio mesh, each with a canary, and pods that ask them.

Both versions are one image under two tags. Each inventory pod has a database of its own with one
product, whose sku is the version: what the gateway answers tells who answered it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run

__all__ = ["EXAMPLES", "METRICS_PORT", "Answers", "Mesh"]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy/istio/examples"
METRICS_PORT = 9100
VERSIONS = ("v1", "v2")

_LOAD_PRODUCT = """
import os, grpc
from shop.inventory.v1 import InventoryServiceStub, LoadProductsRequest, Product
from shop.money.v1 import Money
version = os.environ["APP_VERSION"]
product = Product(sku=version, name=version, department="any", stock=1,
                  price=Money(amount=100, currency="USD"))
with grpc.insecure_channel("127.0.0.1:9082") as channel:
    InventoryServiceStub(channel).LoadProducts(LoadProductsRequest(products=[product]))
"""

# Prints how often each answer came, as JSON; `seconds` is the minimum time of a request.
_ASK = """
import collections, concurrent.futures, http.client, json, sys, time
host, port, path, count, at_once, headers = json.loads(sys.argv[1])
def ask(count):
    connection, seen = http.client.HTTPConnection(host, port, timeout=30), []
    for _ in range(count):
        begun = time.monotonic()
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read().decode()
            answer = str(response.status)
            if answer == "200" and path.startswith("/products"):
                answer += " " + json.loads(body)["items"][0]["sku"]
        except OSError as error:
            connection.close()
            answer = type(error).__name__
        seen.append((answer, time.monotonic() - begun))
    return seen
with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
    seen = [one for part in threads.map(ask, [count // at_once] * at_once) for one in part]
print(json.dumps([collections.Counter(answer for answer, _ in seen), min(s for _, s in seen)]))
"""

_CALL = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    try:
        channel.unary_unary(sys.argv[2])(b"", timeout=10)
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name)
"""

_READ_METRICS = f"""
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:{METRICS_PORT}/metrics").read().decode())
"""


@dataclass(frozen=True)
class Answers:
    """Counts of each answer: "200 v1", "503", or the name of an error."""

    counts: Mapping[str, int]
    shortest_seconds: float


@dataclass(frozen=True)
class Mesh:
    """A namespace with injection, the platform's mesh objects, and the two services."""

    namespace: Namespace
    registry: str
    monitoring: str
    """Name of the namespace that may read metrics."""

    def install(self) -> None:
        """Install everything, and wait until it is ready to answer."""
        self.namespace.kubectl("apply", "--kustomize", str(ROOT / "deploy/istio"))
        self._database_of_each_pod()
        for service in ("inventory", "gateway"):
            self.release(service)
        self.start_pod("visitor", app="visitor")
        self.start_pod("stranger", app="stranger")
        self.namespace.kubectl("wait", "--for=condition=Programmed", "gateway/slipway")
        self.namespace.wait_rolled_out(["slipway-istio"])

    def _database_of_each_pod(self) -> None:
        url = "sqlite:////tmp/inventory.db"
        secret = {"APP_DATABASE_URL": url}
        metadata = {"name": "inventory-database"}
        self.namespace.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secret}
        )

    def release(
        self,
        service: str,
        *examples: str,
        has_canary: bool = True,
        api: str = "istio",
        **canary: object,
    ) -> None:
        """Install or upgrade a service whose canary has these values, and wait until it is ready.

        `examples` are files of `deploy/istio/examples`. Without other values the canary gets no
        request.
        """
        version = VERSIONS[1] if has_canary else ""
        sets: dict[str, object] = {"canary.image": {"tag": version}, "mesh.api": api}
        sets |= {f"canary.{name}": value for name, value in canary.items()}
        self.deploy(service, *examples, **sets)
        names = [service, f"{service}-canary"] if has_canary else [service]
        self.namespace.wait_rolled_out(names)
        if service == "inventory":
            for name in names:
                self.python(f"deployment/{name}", _LOAD_PRODUCT, container="app")

    def deploy(self, service: str, *examples: str, **sets: object) -> None:
        """Install or upgrade a service with these values, without waiting for its pods."""
        folder = ROOT / "services" / service / "deploy"
        files = [folder / "facts.yaml", folder / "values.yaml"]
        files += [EXAMPLES / f"{example}.yaml" for example in examples]
        options = [f"--values={file}" for file in files if file.exists()]
        given = self._values() | sets
        options += [f"--set-json={name}={json.dumps(value)}" for name, value in given.items()]
        self.namespace.helm(
            *("upgrade", "--install", service, str(ROOT / "deploy/helm/service"), *options)
        )

    def _values(self) -> dict[str, object]:
        stranger = {"from": [{"podSelector": {"matchLabels": {"app": "stranger"}}}]}
        # Each value is given separately, because a whole map would hide the examples' values.
        return {
            "image.registry": self.registry,
            "image.tag": VERSIONS[0],
            "image.pullPolicy": "Always",
            "environment": "development",
            "nats.streams": "ensure",
            "metrics.port": METRICS_PORT,
            "mesh.enabled": True,
            "entry.kind": "gateway",
            "drain.delaySeconds": 1,
            "drain.graceSeconds": 5,
            # The visitor sends requests by HTTP; the NetworkPolicy admits the stranger, the mesh
            # does not.
            "extraCallers.visitor": [],
            "networkPolicy.monitoringNamespace": self.monitoring,
            "networkPolicy.extraIngress": [stranger],
        }

    def start_pod(
        self,
        name: str,
        *,
        app: str,
        injected: bool = True,
        namespace: Namespace | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Start a pod that sends requests, with a ServiceAccount of its app's name; wait for it."""
        injection = {"sidecar.istio.io/inject": str(injected).lower()}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": app}}
        container = {
            "name": "client",
            "image": f"{self.registry}/slipway-gateway:v1",
            "command": ["sleep", "infinity"],
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app, **injection, **(labels or {})}},
            "spec": {
                "serviceAccountName": app,
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
            },
        }
        place = namespace or self.namespace
        place.apply(account, pod)
        place.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")

    def python(
        self, where: str, program: str, *arguments: str, container: str, seconds: float = 300
    ) -> str:
        """Return the output of a program in a container of the namespace."""
        return self.namespace.kubectl(
            *("exec", where, "--container", container, "--", "python", "-c", program, *arguments),
            seconds=seconds,
        )

    def ask(
        self,
        path: str,
        *,
        host: str = "gateway",
        port: int = 8080,
        pod: str = "visitor",
        count: int = 1,
        at_once: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> Answers:
        """Send `count` requests from a pod, over `at_once` connections."""
        what = json.dumps([host, port, path, count, at_once, dict(headers or {})])
        counts, seconds = json.loads(self.python(f"pod/{pod}", _ASK, what, container="client"))
        return Answers(Counter(counts), seconds)

    def kill_canary(self, service: str) -> None:
        """Kill the pods of a canary at once, and start no others."""
        self.namespace.kubectl("scale", f"deployment/{service}-canary", "--replicas=0")
        at_once = ("--grace-period=0", "--force")
        pods = f"--selector=app={service},track=canary"
        self.namespace.kubectl("delete", "pods", pods, "--ignore-not-found", *at_once)

    def call(self, target: str, path: str, *, where: str, container: str) -> str:
        """Return the gRPC code of the answer to an empty request."""
        return self.python(where, _CALL, target, path, container=container).strip()

    def count(self, service: str, metric: str, **labels: str) -> Counter[str]:
        """Return a counter's sum over the pods of each version of a service.

        Pods that are ending are left out, because such a pod may be gone when it is asked.
        """
        found: Counter[str] = Counter()
        for pod in self.namespace.read("pods", "--selector", f"app={service}")["items"]:
            if "deletionTimestamp" in pod["metadata"]:
                continue
            version = pod["metadata"]["labels"]["app.kubernetes.io/version"]
            text = self.python(pod["metadata"]["name"], _READ_METRICS, container="app")
            found[version] += round(sum(_samples(text.splitlines(), metric, labels)))
        return found

    def products_listed(self) -> Counter[str]:
        """Return the number of ListProducts calls that each version of inventory has answered."""
        method = "shop.inventory.v1.InventoryService/ListProducts"
        return self.count("inventory", "grpc_server_handled_total", method=method, code="OK")


def _samples(lines: Sequence[str], metric: str, labels: Mapping[str, str]) -> list[float]:
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    return [
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(f"{metric}{{") and all(label in line for label in wanted)
    ]


def has_istio() -> bool:
    """Return whether the cluster has a mesh that injects sidecars, and the Gateway API."""
    names = run("kubectl", "get", "crd", "--output=name")
    return all(kind in names for kind in ("virtualservices.networking.istio.io", "httproutes."))


def push_versions(registry: str) -> None:
    """Build the gateway's and inventory's image and push each under the tags v1 and v2."""
    for version in VERSIONS:
        run(
            *("slipway", "images", "build", "gateway", "inventory"),
            *("--tag", version, "--push", registry),
            seconds=900,
        )
