"""A Prometheus that scrapes a service's pods on a cluster as the chart's ServiceMonitor says."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_server import prometheus

from demo.cluster.shop import ClusterShop
from devkit.cluster.tools import ToolFailed

__all__ = ["scraping"]

# The interval of the ServiceMonitor.
_INTERVAL = "15s"
_LOOK_SECONDS = 2.0


@contextmanager
def scraping(shop: ClusterShop, service: str, folder: Path) -> Iterator[str]:
    """Run a Prometheus on this machine, and yield its URL.

    It reads the pods' metrics through the API server, because their addresses need not be reachable
    from here, and their names from a file, because Debian's Prometheus does not ask Kubernetes.
    """
    file, ended = folder / "targets.json", threading.Event()
    with _proxy() as address:

        def look() -> None:
            while not ended.wait(_LOOK_SECONDS):
                with suppress(ToolFailed):
                    _write(file, _targets(shop, service, address))

        _write(file, _targets(shop, service, address))
        files = [{"files": [str(file)], "refresh_interval": "1s"}]
        looking = threading.Thread(target=look, name="targets", daemon=True)
        looking.start()
        try:
            job = {"job_name": service, "file_sd_configs": files}
            with prometheus(folder, [job], _INTERVAL) as url:
                yield url
        finally:
            ended.set()
            looking.join()


@contextmanager
def _proxy() -> Iterator[str]:
    """Run `kubectl proxy`, and yield its address."""
    command = ("kubectl", "proxy", "--port=0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _targets(shop: ClusterShop, service: str, address: str) -> list[dict[str, Any]]:
    """Return the pods of a service with the labels that their ServiceMonitor gives them."""
    (port,) = (each.http.port for each in shop.platform.services if each.name == service)
    place = f"/api/v1/namespaces/{shop.namespace.name}/pods"
    found = []
    for pod in shop.namespace.read("pods", f"--selector=app={service}")["items"]:
        name, of = pod["metadata"]["name"], pod["metadata"]["labels"]
        labels = {
            "__metrics_path__": f"{place}/{name}:{port}/proxy/metrics",
            "namespace": shop.namespace.name,
            "service": service,
            "pod": name,
            "track": of["track"],
            "version": of["app.kubernetes.io/version"],
        }
        if pod["status"].get("podIP"):
            found.append({"targets": [address], "labels": labels})
    return found


def _write(file: Path, targets: list[dict[str, Any]]) -> None:
    """Replace the file as a whole, because Prometheus reads it meanwhile."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(targets), encoding="utf-8")
    part.replace(file)
