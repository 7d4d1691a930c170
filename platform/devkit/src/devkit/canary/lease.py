"""The lease by which one command at a time changes the canary of a service."""

import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from devkit.canary.target import Target
from devkit.cluster.tools import ToolFailed
from devkit.errors import DevkitError

__all__ = ["Held", "Lease", "read_lease"]

_SECONDS = 60
"""The time without a renewal after which another command may take the lease."""
_RENEW_SECONDS = 10.0
_LOOK_SECONDS = 1.0
"""The time after which a command looks whether another one has taken the lease."""
_TRIES_BY_FORCE = 5
_PLAN = "slipway/canary-plan"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Held:
    """A lease as the cluster has it: who holds it, what that command does, and since when."""

    holder: str
    plan: Mapping[str, Any]
    since: datetime
    renewed: datetime
    version: str

    @property
    def alive(self) -> bool:
        """Whether its holder has renewed it within its time."""
        return bool(self.holder) and datetime.now(UTC) - self.renewed < timedelta(seconds=_SECONDS)


def read_lease(target: Target) -> Held | None:
    """Return the lease of a service's canary; None if no command has changed one. ToolFailed."""
    found = target.namespace.kubectl(
        *("get", f"lease/{target.canary}", "--ignore-not-found", "--output=json")
    )
    return _held(json.loads(found)) if found.strip() else None


@dataclass
class Lease:
    """The lease of this command, from `take` to `give_back`; a thread renews it meanwhile.

    Attributes:
        lost: Set when another command has taken the lease.
    """

    target: Target
    plan: Mapping[str, Any]
    holder: str = field(default_factory=lambda: f"{getpass.getuser()}@{socket.gethostname()}")
    lost: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.holder = f"{self.holder} (process {os.getpid()})"
        self._ended = threading.Event()
        self._since = datetime.now(UTC)
        self._renewing = threading.Thread(target=self._renew_until_ended, daemon=True)

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def take(self, *, by_force: bool = False) -> Self:
        """Take the lease; `by_force` also one that another command holds, which then stops.

        Raises:
            DevkitError: another command holds it.
        """
        # By force the version is not named, because the holder renews the lease meanwhile.
        for left in reversed(range(_TRIES_BY_FORCE if by_force else 1)):
            held = read_lease(self.target)
            if held is not None and held.alive and not by_force:
                raise DevkitError(
                    f"the canary of {self.target.service} is being changed by {held.holder} since"
                    f" {held.since:%H:%M:%S} UTC. Wait for its end, or stop it by"
                    f" `slipway canary abort {self.target.service}`."
                )
            try:
                version = held.version if held and not by_force else ""
                self._write("replace" if held else "create", version)
                break
            except ToolFailed as error:
                if not left:
                    raise DevkitError(
                        f"another command has begun to change the canary of {self.target.service}"
                        f" at this moment; try again: {error}"
                    ) from error
        return self

    def give_back(self) -> None:
        """End the lease, so that the next command needs not wait.

        If the cluster does not answer, the lease ends by its age.
        """
        self._ended.set()
        if self._renewing.ident is not None:
            self._renewing.join()
        if self.lost.is_set():
            return
        with suppress(ToolFailed):
            if (held := self._own()) is not None:
                self._write("replace", held.version, holder="")

    def _renew_until_ended(self) -> None:
        renewed_at = time.monotonic()
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                held = self._own()
                if held is None:
                    self.lost.set()
                    return
                if time.monotonic() - renewed_at >= _RENEW_SECONDS:
                    self._write("replace", held.version)
                    renewed_at = time.monotonic()
            except ToolFailed:
                continue  # The cluster does not answer, or another command took it just now.

    def _own(self) -> Held | None:
        """Return the lease if this command still holds it."""
        held = read_lease(self.target)
        return held if held is not None and held.holder == self.holder else None

    def _write(self, verb: str, version: str, holder: str | None = None) -> None:
        """Store the lease; `version` is the one that it replaces."""
        written = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.target.canary,
                "annotations": {_PLAN: json.dumps(self.plan)},
                **({"resourceVersion": version} if version else {}),
            },
            "spec": {
                "holderIdentity": self.holder if holder is None else holder,
                "leaseDurationSeconds": _SECONDS,
                "acquireTime": self._since.strftime(_TIME),
                "renewTime": datetime.now(UTC).strftime(_TIME),
            },
        }
        self.target.namespace.kubectl(
            verb, "--validate=false", "--filename", "-", input=json.dumps(written)
        )


def _held(lease: Mapping[str, Any]) -> Held:
    spec = lease["spec"]
    plan = lease["metadata"].get("annotations", {}).get(_PLAN, "{}")
    return Held(
        holder=spec.get("holderIdentity") or "",
        plan=json.loads(plan),
        since=_time(spec["acquireTime"]),
        renewed=_time(spec["renewTime"]),
        version=lease["metadata"]["resourceVersion"],
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
