"""A stable version and a canary of the chassis' test service as pods, by the platform's chart."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import yaml
from canary_trial import CANARY, STABLE, CanaryTrial
from charts import ROOT, SERVICES
from cluster_node import Node
from nats.errors import Error as NatsError

from devkit.canary.image import Image
from devkit.canary.lanes import hasten
from devkit.canary.release import CanaryRelease
from devkit.canary.target import Target
from devkit.cluster.namespace import Namespace
from devkit.cluster.release import Release, chart_of
from devkit.cluster.tools import run
from devkit.images.build import push_image
from devkit.images.docker import docker
from devkit.workspace import Workspace

__all__ = ["Bookstore", "PodTrial"]

_NAME = "bookstore"
_IMAGE = f"slipway-{_NAME}"
_TESTS = ROOT / "platform/chassis/tests"
_SERVICE = "versioned_service"
_DOCKERFILE = f"""\
FROM {{image}}
USER root
RUN rm -r /app/orders
COPY {_SERVICE} /app/{_SERVICE}
COPY contracts bookshop.py /opt/shared/
USER 65532:65532
"""
_FACTS = {
    "name": _NAME,
    "image": _IMAGE,
    "http": {"port": 8080, "paths": []},
    "grpc": {"port": 9080, "services": [], "reads": []},
    "calls": {},
    "callers": {},
    "publishes": ["bookstore.v1.BookReturned", "bookstore.v1.BookSold"],
    "subscribes": {_NAME: ["bookstore.v1.BookSold"]},
    "database": True,
    "migrations": False,
    "lanes": 20,
    "secrets": ["APP_DATABASE_URL"],
}
_READY_SECONDS = 300
_TRIES = 10


class Bookstore:
    """The test service in a namespace, next to a broker and a database of its own.

    Its handlers write the journal, a table that `Shop` creates.
    """

    def __init__(self, workspace: Workspace, namespace: Namespace, registry: str, tag: str) -> None:
        self.namespace = namespace
        self._workspace = workspace
        self._registry = registry
        self._tag = tag
        self._password = token_hex(16)
        self.target = Target(namespace, _NAME, _NAME, ROOT / "deploy/helm/service", "")

    def install(self) -> None:
        """Install broker and database, and create the service's database; push its image."""
        self._push_image()
        no_storage = {"enabled": True, "storage": {"enabled": False}}
        without = {service: {"enabled": False} for service in SERVICES}
        mesh = {"global": {"mesh": {"enabled": True}}}
        Release("slipway", self.namespace, chart_of(self._workspace.root)).install(
            {"nats": no_storage, "postgresql": no_storage, **mesh, **without}
        )
        self._create_database()

    def _push_image(self) -> None:
        image = f"{_IMAGE}:{self._tag}"
        with tempfile.TemporaryDirectory() as folder:
            for source in (_TESTS / "parts" / _SERVICE, _TESTS / "contracts"):
                run("cp", "-r", str(source), folder)
            run("cp", str(_TESTS / "parts/bookshop.py"), folder)
            text = _DOCKERFILE.format(image=f"slipway-orders:{self._tag}")
            (Path(folder) / "Dockerfile").write_text(text, encoding="utf-8")
            run(docker(), "build", "--quiet", "--tag", image, folder, seconds=300)
        push_image(self._workspace, image, self._registry)

    def _create_database(self) -> None:
        role = f"CREATE ROLE {_NAME} LOGIN PASSWORD '{self._password}'"
        for statement in (role, f"CREATE DATABASE {_NAME} OWNER {_NAME}"):
            psql = ("psql", "--host=/tmp", "--username=postgres", f"--command={statement}")
            self.namespace.kubectl(
                "exec", "pod/postgresql-0", "--container=postgresql", "--", *psql
            )
        secret = {"APP_DATABASE_URL": self.database_url("postgresql:5432")}
        metadata = {"name": f"{_NAME}-database"}
        self.namespace.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secret}
        )

    def database_url(self, address: str) -> str:
        """Return the URL of the service's database at an address."""
        return f"postgresql+psycopg://{_NAME}:{self._password}@{address}/{_NAME}"

    def start(self) -> None:
        """Install the stable version, and wait until it is ready."""
        values = {
            "facts": _FACTS,
            "image": {"registry": self._registry, "tag": self._tag},
            "nats": {"streams": "ensure"},
            "mesh": {"enabled": True},
            "resources": {"requests": {"cpu": "25m"}},
            "settings": {"APP_VERSION": STABLE},
            "canary": {"settings": {"APP_VERSION": CANARY}},
        }
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".yaml") as file:
            yaml.safe_dump(values, file)
            file.flush()
            chart = str(self.target.chart)
            self.namespace.helm("install", _NAME, chart, f"--values={file.name}")
        self.namespace.wait_rolled_out([_NAME], _READY_SECONDS)

    @property
    def canary(self) -> CanaryRelease:
        return CanaryRelease(self.target)

    @property
    def image(self) -> Image:
        """The canary's image, which is that of the stable version."""
        return Image(tag=self._tag)

    @contextmanager
    def reached(self) -> Iterator[tuple[str, str]]:
        """Yield local URLs of database and broker, which a tunnel leads to."""
        with self._tunnel("postgresql-0", 5432) as database, self._tunnel("nats-0", 4222) as broker:
            url = self.database_url(database)
            # The first connection through a tunnel takes longer than the chassis waits.
            psycopg.connect(url.replace("+psycopg", "", 1), connect_timeout=60).close()
            yield url, f"nats://{broker}"

    @contextmanager
    def _tunnel(self, pod: str, port: int) -> Iterator[str]:
        command = ("kubectl", "--namespace", self.namespace.name, "port-forward", pod, f":{port}")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                yield said.split(" -> ")[0].removeprefix("Forwarding from ")
            finally:
                process.terminate()


class PodTrial(CanaryTrial[str]):
    """A trial whose replicas are pods; a replica is named by its Deployment."""

    ask_seconds = 1.0

    def __init__(self, bookstore: Bookstore, node: Node, **options: Any) -> None:
        super().__init__(**options)
        self._bookstore = bookstore
        self._node = node
        self._killed = False

    async def start(self, version: str, *, weighed: bool = True) -> str:
        """Install a version; the canary that was killed comes back by its Deployment."""
        bookstore = self._bookstore
        if version == STABLE:
            await asyncio.to_thread(bookstore.start)
            return bookstore.target.service
        if self._killed:
            await asyncio.to_thread(self._scale, 1)
        else:
            await asyncio.to_thread(bookstore.canary.start, bookstore.image)
        return bookstore.target.canary

    async def kill(self, replica: str) -> None:
        """Kill the processes of the canary's pod by SIGKILL, and keep it from coming back yet."""
        await asyncio.to_thread(self._kill)
        self._killed = True

    async def stop(self, replica: str) -> None:
        await asyncio.to_thread(self._bookstore.canary.remove, "end the canary")
        self._killed = False

    async def write_weight(self, percent: int) -> None:
        await asyncio.to_thread(self._write_weight, percent)

    async def owners(self) -> dict[int, str]:
        """Return the version that reads each lane; a tunnel may refuse some connections."""
        for _ in range(_TRIES):
            with suppress(OSError, NatsError):
                return await super().owners()
        return await super().owners()

    def log_ends(self) -> Sequence[str]:
        pods = self._bookstore.namespace.pods(f"app={self._bookstore.target.service}")
        logs = ("logs", "--container=app", "--tail=20")
        return [self._bookstore.namespace.kubectl(*logs, pod.name) for pod in pods]

    def _write_weight(self, percent: int) -> None:
        self._bookstore.canary.set_weight(self._bookstore.image, percent)
        hasten(self._bookstore.target)

    def _kill(self) -> None:
        namespace = self._bookstore.namespace
        selector = f"app={self._bookstore.target.service},track=canary"
        (pod,) = (pod.name for pod in namespace.pods(selector) if not pod.leaving)
        self._node.kill(pod)
        self._scale(0)
        namespace.kubectl("delete", "pod", pod, "--force", "--grace-period=0", "--ignore-not-found")

    def _scale(self, replicas: int) -> None:
        named = f"deployment/{self._bookstore.target.canary}"
        self._bookstore.namespace.kubectl("scale", named, f"--replicas={replicas}")
