"""The broker within the mesh: reached over mTLS by a service, and by the key of a service only."""

from pathlib import Path

import pytest
from mesh import Mesh

from devkit.cluster.tools import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/slipway"
SERVICES = [path.parent.parent.name for path in ROOT.glob("services/*/deploy/facts.yaml")]

# The broker's name may be unknown to the cluster's DNS for a moment after the broker has started.
CONNECT = """
import asyncio, pathlib, sys
from nats.errors import NoServersError
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
async def connect(seed):
    file = pathlib.Path("/dev/shm/seed")
    file.write_text(seed)
    options = NatsOptions("nats://nats:4222", nkey_seed_file=file)
    for _ in range(120):
        try:
            async with connection(options, "test"):
                return "connected"
        except NoServersError:
            await asyncio.sleep(0.5)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return "never reached"
print(asyncio.run(connect(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def keys(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of keys: the broker knows those of `right`, but not those of `wrong`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("right", "wrong"):
        run("slipway", "broker", "keys", "--out", str(folder / name))
    permissions = folder / "permissions.conf"
    permissions.write_text(
        run("slipway", "broker", "permissions", "--keys", str(folder / "right")), encoding="utf-8"
    )
    run("helm", "dependency", "build", str(CHART), seconds=300)
    mesh.namespace.helm(
        *("install", "broker", str(CHART), f"--set-file=nats.permissions={permissions}"),
        "--set=nats.enabled=true,nats.storage.enabled=false,global.mesh.enabled=true",
        *(f"--set={service}.enabled=false" for service in SERVICES),
    )
    mesh.namespace.kubectl("rollout", "status", "statefulset/nats", "--timeout=120s")
    return folder


def seen_with(mesh: Mesh, seed: Path) -> str:
    """Return what the gateway sees when it connects, as services do, with the key of this file."""
    key = seed.read_text(encoding="ascii").strip()
    return mesh.python("deployment/gateway", CONNECT, key, container="app").strip()


def test_a_key_that_the_broker_does_not_know_is_refused(mesh: Mesh, keys: Path) -> None:
    assert seen_with(mesh, keys / "right/gateway.nk") == "connected"
    assert "Authorization Violation" in seen_with(mesh, keys / "wrong/gateway.nk")


def test_a_pod_outside_the_mesh_does_not_reach_the_broker(mesh: Mesh, keys: Path) -> None:
    """The pod is refused although the NetworkPolicy admits it and its key is right."""
    labels = {"app.kubernetes.io/part-of": "slipway"}
    mesh.start_pod("part", app="part", injected=False, labels=labels)
    key = (keys / "right/gateway.nk").read_text(encoding="ascii").strip()
    said = mesh.python("pod/part", CONNECT, key, container="client").strip()
    assert said not in {"connected", "never reached"}
