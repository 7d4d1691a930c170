"""The record of what happened to a canary: events of Kubernetes, and lines of JSON in a file."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devkit.canary.target import Target
from devkit.cluster.tools import ToolFailed

__all__ = ["Record", "record_file"]

_LONGEST_MESSAGE = 1024
"""The limit of the API server for the message of an event."""


def record_file(folder: Path, target: Target) -> Path:
    """Return the file with the record of a service's canaries, below the clone's state folder."""
    return folder / "canary" / f"{target.namespace.name}-{target.service}.jsonl"


@dataclass(frozen=True)
class Record:
    """The record of a service's canaries; each entry is kept in both places."""

    target: Target
    file: Path

    def add(self, reason: str, message: str, *, warning: bool = False, **details: Any) -> None:
        """Add an entry; `reason` is one word, for example CanaryStep. `details` go into the file.

        A cluster that refuses the event, or a full disk, does not stop the canary: the other place
        has the entry.
        """
        now = datetime.now(UTC)
        entry = {"at": now.isoformat(), "reason": reason, "message": message, **details}
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(entry, default=str) + "\n")
        with suppress(ToolFailed):
            self._create_event(reason, message, now, warning=warning)

    def _create_event(self, reason: str, message: str, now: datetime, *, warning: bool) -> None:
        """Create an event of the service's Deployment. Raises ToolFailed."""
        service = self.target.service
        namespace = self.target.namespace
        moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = namespace.read(f"deployment/{service}")["metadata"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{service}-canary-"},
            "involvedObject": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": service,
                "namespace": namespace.name,
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message[:_LONGEST_MESSAGE],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "slipway-canary"},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        namespace.kubectl("create", "--validate=false", "--filename", "-", input=json.dumps(event))
