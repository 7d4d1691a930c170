"""A release creates its streams by a hook: with keys, over TLS, with a late database."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from charts import ROOT, SERVICES, Charts

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

REGISTRY = os.environ.get("REGISTRY", "localhost:5000")
OTHERS = [name for name in SERVICES if name != "orders"]
MADE_AFTER = """
import asyncio
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.owned_stream import made_after_rank
from chassis.events.jetstream.streams import stream_state
from chassis.settings_loading import load
from orders.service import service

async def main():
    settings = load(service.settings_type)
    options = NatsOptions.of(settings.nats_url, settings, "orders")
    async with connection(options, "test") as client:
        print(options.encrypted, made_after_rank(await stream_state(client, "orders")))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    return Charts.copy(tmp_path_factory.mktemp("charts") / "helm")


@pytest.fixture
def permissions(namespace: Namespace, tmp_path: Path) -> Path:
    """The broker's users by their keys, whose Secrets are in the namespace."""
    keys = ("slipway", "broker", "keys", "--out", str(tmp_path / "keys"))
    run(*keys)
    namespace.kubectl("apply", "--filename=-", input=run(*keys, "--kubernetes"))
    file = tmp_path / "permissions.conf"
    printed = run("slipway", "broker", "permissions", "--keys", str(tmp_path / "keys"))
    file.write_text(printed, encoding="utf-8")
    return file


def sees(namespace: Namespace) -> str:
    """Return whether orders uses TLS, and the rank up to which its stream was told of events."""
    namespace.wait_rolled_out(["orders"])
    pod = ("exec", "deploy/orders", "--container=app", "--", "python")
    return namespace.kubectl(*pod, "-c", MADE_AFTER).strip()


def test_an_umbrella_with_keys_makes_its_streams_once_its_own_database_answers(
    namespace: Namespace, charts: Charts, permissions: Path, tag: str
) -> None:
    chart = charts.folder / "slipway"
    # Without --wait the hook begins while database and broker are still being started.
    namespace.helm(
        *("install", "slipway", str(chart), "--timeout=420s"),
        *(f"--values={chart}/values-{name}.yaml" for name in ("development", "keys")),
        f"--set-file=nats.permissions={permissions}",
        f"--set=global.image.registry={REGISTRY},global.image.tag={tag}",
        *(f"--set={name}.enabled=false" for name in OTHERS),
        *(f"--set={name}.storage.enabled=false" for name in ("nats", "postgresql")),
    )
    assert sees(namespace) == "False 0"


@pytest.fixture
def broker_over_tls(namespace: Namespace, permissions: Path, tmp_path: Path) -> Mapping[str, Any]:
    """An external broker with a certificate of its own authority, and the values for it."""
    ours, others = trustme.CA(), trustme.CA()
    shown = _certificate(ours, "orders")
    config = (
        "jetstream { store_dir: /data }\n"
        "tls { cert_file: /etc/nats/tls.crt, key_file: /etc/nats/tls.key\n"
        "  ca_file: /etc/nats/ca.crt, verify: true }\n"
    )
    users = permissions.read_text(encoding="utf-8")
    served = {"nats.conf": config + users, "ca.crt": _pem(ours), **_certificate(ours, "broker")}
    namespace.apply(
        _secret("broker", served),
        _secret("authority", {"ca.crt": _pem(ours), **shown}),
        _secret("another-authority", {"ca.crt": _pem(others), **shown}),
        *_broker_pod(),
    )
    namespace.kubectl("wait", "--for=condition=Ready", "pod/broker", "--timeout=120s", seconds=130)
    return {
        "url": "tls://broker:4222",
        "tlsSecret": "authority",
        "tlsClient": True,
        "peers": [{"podSelector": {"matchLabels": {"app": "broker"}}}],
        "existingSecret": "{{ .Values.facts.name }}-nats",
        "streams": "pre",
    }


def test_a_release_trusts_an_external_broker_by_the_authority_that_its_values_name(
    namespace: Namespace, charts: Charts, broker_over_tls: Mapping[str, Any], tag: str
) -> None:
    umbrella = charts.folder / "slipway"
    namespace.helm(
        *("install", "database", str(umbrella), f"--values={umbrella}/values-development.yaml"),
        *(f"--set={name}.enabled=false" for name in ("nats", *SERVICES)),
        "--set=postgresql.storage.enabled=false",
    )

    def orders(verb: str, seconds: int, **nats: str) -> None:
        given = json.dumps({**broker_over_tls, **nats})
        namespace.helm(
            *(verb, "orders", str(charts.folder / "service"), "--wait", f"--timeout={seconds}s"),
            f"--values={ROOT}/services/orders/deploy/facts.yaml",
            f"--values={ROOT}/services/orders/deploy/values.yaml",
            f"--values={charts.folder}/environments/development.yaml",
            f"--set=image.registry={REGISTRY},image.tag={tag},database.migrations=job",
            f"--set-json=nats={given}",
        )

    # The test does not wait for the database, because migrations do, and then the streams' hook.
    orders("install", 300)
    assert sees(namespace) == "True 0"

    with pytest.raises(ToolFailed):
        orders("upgrade", 90, tlsSecret="another-authority")
    log = namespace.kubectl("logs", "job/orders-streams")
    assert "cannot be reached: nats: certificate verify failed: " in log
    assert "has to be in APP_NATS_TLS_CA_FILE (/etc/slipway/nats-tls/ca.crt)" in log
    # The running pods are not affected by the failed release.
    assert sees(namespace) == "True 0"


def _pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def _certificate(authority: trustme.CA, name: str) -> dict[str, str]:
    """Return the two files of a certificate, named as in a Secret of type kubernetes.io/tls."""
    issued = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode()
    return {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes().decode()}


def _secret(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": dict(files),
    }


def _broker_pod() -> list[dict[str, Any]]:
    labels = {"app": "broker"}
    container = {
        "name": "nats",
        "image": "nats:2-alpine",
        "args": ["--config", "/etc/nats/nats.conf"],
        "readinessProbe": {"tcpSocket": {"port": 4222}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/nats"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "config", "secret": {"secretName": "broker", "defaultMode": 0o440}},
            {"name": "data", "emptyDir": {}},
        ],
    }
    port = {"name": "tcp-nats", "port": 4222}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "broker", "labels": labels},
            "spec": spec,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "broker"},
            "spec": {"selector": labels, "ports": [port]},
        },
    ]
