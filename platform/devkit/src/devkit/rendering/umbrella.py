"""The umbrella chart: a dependency and values for each service."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import yaml

from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, header, yaml_of, yaml_text
from devkit.rendering.facts import facts

__all__ = ["artifacts"]

_UMBRELLA = Path("deploy/helm/slipway")
_SERVICE = Path("deploy/helm/service")
# The hand-written values of the broker and the database server that the umbrella installs.
_SERVER_VALUES = _UMBRELLA / "values-own.yaml"


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield Chart.yaml with a dependency for each service, and values.yaml with their values."""
    if not platform.services or not (platform.root / _SERVER_VALUES).is_file():
        return
    chart = yaml_text("the chart's templates", _chart(platform))
    yield Artifact(_UMBRELLA / "Chart.yaml", chart)
    yield Artifact(_UMBRELLA / "values.yaml", _values(platform))


def _chart(platform: PlatformDescription) -> dict[str, object]:
    """Return Chart.yaml of the umbrella: the service's chart once for each service."""
    service = yaml.safe_load((platform.root / _SERVICE / "Chart.yaml").read_text(encoding="utf-8"))
    return {
        "apiVersion": "v2",
        "name": _UMBRELLA.name,
        "description": "All services, and optionally a broker and a database server.",
        "type": "application",
        **{key: service[key] for key in ("version", "appVersion", "kubeVersion")},
        "dependencies": [
            {
                "name": service["name"],
                "alias": each.name,
                "version": service["version"],
                "repository": f"file://../{_SERVICE.name}",
                "condition": f"{each.name}.enabled",
            }
            for each in platform.services
        ],
    }


def _values(platform: PlatformDescription) -> str:
    first = f"# {header(f'{_SERVER_VALUES.name}, and values.yaml of a service')}\n\n"
    own = (platform.root / _SERVER_VALUES).read_text(encoding="utf-8")
    services = [_service_values(platform, each) for each in platform.services]
    return "\n".join([first + own, *services])


def _service_values(platform: PlatformDescription, service: ServiceDescription) -> str:
    """Return a service's values.yaml, as it is written, and its facts, below its name."""
    by_hand = platform.root / service.folder / "deploy/values.yaml"
    own = by_hand.read_text(encoding="utf-8") if by_hand.is_file() else ""
    text = own + yaml_of({"facts": facts(service, platform.lanes)})
    return f"{service.name}:\n{indent(text, '  ')}"
