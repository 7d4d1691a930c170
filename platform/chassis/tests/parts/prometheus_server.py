"""A real Prometheus server that scrapes what a test runs."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from localservers import free_port
from localservers.process import ChildProcess

__all__ = ["needs_prometheus", "prometheus"]

_START_SECONDS = 180.0

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="there is no prometheus on the PATH"
)


@contextmanager
def prometheus(
    folder: Path, jobs: Sequence[Mapping[str, Any]], interval: str, rules: Sequence[str] = ()
) -> Iterator[str]:
    """Run a Prometheus, and yield its URL when it is ready.

    Args:
        folder: where it keeps its configuration, log and samples.
        jobs: what it scrapes, as `scrape_configs` of its configuration.
        interval: the time between two scrapes, and two evaluations of rules.
        rules: files of rules, whose names are relative to the folder.
    """
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": list(rules),
        "scrape_configs": list(jobs),
    }
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = ChildProcess(command, log=folder / "log", cwd=folder)
    try:
        process.wait_until(lambda: _is_ready(url), name="prometheus", seconds=_START_SECONDS)
        yield url
    finally:
        process.kill()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
