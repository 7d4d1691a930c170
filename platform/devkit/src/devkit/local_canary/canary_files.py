"""The files with the weight of a canary, which its processes and Envoy read while they run."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from devkit.local_canary.routes import PROTOCOLS, route_name, routes, routes_file_name

__all__ = ["CanaryFiles"]


@dataclass(frozen=True)
class CanaryFiles:
    """The files with the weight of one service's canary.

    Args:
        service: the service's name.
        weight_file: the file that the canary's processes read, with the weight in percent.
        routes: the folder of the routes that Envoy reads.
        match: headers, by name, whose value selects the canary regardless of the weight.
    """

    service: str
    weight_file: str
    routes: str
    match: dict[str, str] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        """The weight that was written last, in percent."""
        return int(Path(self.weight_file).read_text(encoding="utf-8"))

    def write(self, weight: int) -> None:
        """Write a weight: Envoy follows at once, the processes before their next announcement."""
        for protocol in PROTOCOLS:
            file = Path(self.routes) / routes_file_name(route_name(self.service, protocol))
            _replace(file, json.dumps(routes(self.service, protocol, weight, self.match)))
        _replace(Path(self.weight_file), f"{weight}\n")


def _replace(file: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old text or the new one."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
