"""Prometheus's configuration for docker/compose.yaml, which scrapes every replica."""

from collections.abc import Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]

_PATH = Path("docker/observability/prometheus/prometheus.yaml")
_ADDITIONS = "docker/compose.override.yaml, with a configuration of your own"


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the file; nothing for a platform without services."""
    if platform.services:
        content = {
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [_scrape(service) for service in platform.services],
        }
        yield Artifact(_PATH, yaml_text(_ADDITIONS, content))


def _scrape(service: ServiceDescription) -> dict[str, object]:
    """Return the job of a service, which finds an address for each replica by DNS."""
    found = {"names": [service.name], "type": "A", "port": service.http.port}
    return {
        "job_name": service.name,
        "metrics_path": service.probes.metrics,
        "dns_sd_configs": [{**found, "refresh_interval": "5s"}],
    }
