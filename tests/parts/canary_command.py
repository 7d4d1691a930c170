"""`slipway canary` for a service of a shop on a cluster, and what it has left there."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from charts import ROOT

from demo.cluster.shop import ClusterShop

__all__ = ["CanaryCommand", "ended"]


@dataclass(frozen=True)
class CanaryCommand:
    """`slipway canary` for a service of a shop; `state` is the folder of its record."""

    shop: ClusterShop
    service: str
    state: Path

    def start(self, tag: str, *options: str) -> "subprocess.Popen[str]":
        """Begin `slipway canary start`; its output is one text."""
        return self._begin("start", "--tag", tag, *options)

    def run(self, verb: str, *options: str) -> tuple[int, str]:
        """Return the exit code and the output of a command."""
        return ended(self._begin(verb, *options))

    def _begin(self, verb: str, *options: str) -> "subprocess.Popen[str]":
        where = ("--namespace", self.shop.namespace.name)
        return subprocess.Popen(
            [sys.executable, "-m", "devkit", "canary", verb, self.service, *where, *options],
            cwd=ROOT,
            env={**os.environ, "SLIPWAY_STATE": str(self.state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    @property
    def record(self) -> Path:
        """The file with the record of the service's canaries."""
        return self.state / "canary" / f"{self.shop.namespace.name}-{self.service}.jsonl"

    def stable_tag(self) -> str:
        """Return the tag of the stable version's image."""
        deployment = self.shop.namespace.read(f"deployment/{self.service}")
        spec = deployment["spec"]["template"]["spec"]
        return str(spec["containers"][0]["image"]).rpartition(":")[2]

    def canary_runs(self) -> bool:
        """Return whether the service has a canary."""
        named = f"deployment/{self.service}-canary"
        return bool(self.shop.namespace.kubectl("get", named, "--ignore-not-found").strip())

    def recorded(self) -> list[str]:
        """Return the canary's events at the service's Deployment, oldest first."""
        fields = f"involvedObject.kind=Deployment,involvedObject.name={self.service}"
        items = self.shop.namespace.read("events", "--field-selector", fields)["items"]
        items.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [f"{e['reason']}: {e['message']}" for e in items if e["reason"].startswith("Canary")]


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for the end of a command; return its exit code and its output."""
    output, _ = process.communicate(timeout=1500)
    print(output, flush=True)
    return process.returncode, output
