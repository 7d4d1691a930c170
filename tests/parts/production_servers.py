"""Production's external broker and database (deploy/helm/production).

NATS is a cluster of three in a namespace of its own, which knows each service by its key.
PostgreSQL is one server with the labels and roles of CloudNativePG, whose databases have one user.
"""

import base64
from pathlib import Path

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run

__all__ = ["start_broker", "start_database"]

ROOT = Path(__file__).parents[2]
_CHART = ROOT / "deploy/helm/slipway"
_SERVERS = 3
_CONFIGURATION = """
server_name: $POD_NAME
port: 4222
http_port: 8222
jetstream {
  store_dir: /data
  sync_interval: always
}
cluster {
  name: nats
  port: 6222
  routes: [%s]
}
include ./permissions.conf
"""


def start_broker(there: Namespace, permissions: str) -> None:
    """Start the broker in a namespace of its own, and wait until it is one cluster."""
    routes = ", ".join(f"nats://nats-{number}.nats:6222" for number in range(_SERVERS))
    files = {"nats.conf": _CONFIGURATION % routes, "permissions.conf": permissions}
    labels = {"app": "nats"}
    ports = [{"name": "tcp-nats", "port": 4222}, {"name": "tcp-routes", "port": 6222}]
    server = {
        "name": "nats",
        "image": "nats:2-alpine",
        "args": ["--config", "/etc/nats/nats.conf"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        # Each of the three is ready when it has found the others.
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8222}, "periodSeconds": 2},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/nats"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    pod = {
        "containers": [server],
        "volumes": [
            {"name": "config", "configMap": {"name": "nats"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
    named = {"metadata": {"name": "nats"}}
    there.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", **named, "data": files},
        {
            "apiVersion": "v1",
            "kind": "Service",
            **named,
            "spec": {
                "clusterIP": "None",
                # The servers find each other before they are ready.
                "publishNotReadyAddresses": True,
                "selector": labels,
                "ports": ports,
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            **named,
            "spec": {
                "serviceName": "nats",
                "replicas": _SERVERS,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    )
    there.kubectl("rollout", "status", "statefulset/nats", "--timeout=180s", seconds=190)


def start_database(there: Namespace, services: list[str]) -> None:
    """Start the database, and make the Secret `<service>-database` of each service that has one."""
    run("helm", "dependency", "build", str(_CHART), seconds=300)
    there.helm(
        *("install", "postgresql", str(_CHART)),
        "--set=postgresql.enabled=true,postgresql.storage.enabled=false,global.mesh.enabled=true",
        *(f"--set={service}.enabled=false" for service in services),
    )
    label = '{"spec":{"template":{"metadata":{"labels":{"cnpg.io/cluster":"postgresql"}}}}}'
    there.kubectl("patch", "statefulset/postgresql", f"--patch={label}")
    there.kubectl("rollout", "status", "statefulset/postgresql", "--timeout=180s", seconds=190)
    for secret in there.read("secrets")["items"]:
        name = secret["metadata"]["name"]
        if name.endswith("-database-owner"):
            url = base64.b64decode(secret["data"]["APP_DATABASE_URL"]).decode()
            there.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": name.removesuffix("-owner")},
                    "stringData": {"APP_DATABASE_URL": url},
                }
            )
