"""Changes of a release that concern its canary; each is one upgrade by helm."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from devkit.canary.image import NO_IMAGE, Image
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.cluster.dependencies import update_dependencies
from devkit.cluster.tools import ToolFailed

__all__ = ["CanaryRelease", "promoted_values", "started_values", "without_canary"]

_SECONDS = 600
_REPEAT_SECONDS = 1.0
# Helm refuses an upgrade while another runs, and the later one of two that begin at once.
_OTHER_RUNS = (
    "another operation (install/upgrade/rollback) is in progress",
    "release: already exists",
)

Values = Mapping[str, str | int]


def started_values(image: Image) -> Values:
    """Return the values of a service with a canary that gets no request and no lane.

    No header leads to it, because its pods are not ready yet.
    """
    return {**image.values("canary.image"), "canary.weight": 0, "canary.matchAtZero": False}


def without_canary() -> Values:
    """Return the values of a service that has no canary: no Deployment, no route and no lane."""
    return started_values(NO_IMAGE)


def promoted_values(image: Image) -> Values:
    """Return the values of a service whose stable version has the canary's image."""
    return image.values("image")


@dataclass
class CanaryRelease:
    """The release that a service belongs to. Each change raises ToolFailed if helm refuses it.

    A change waits up to `wait_seconds` for the end of others, for example that of a command from
    which an abort has taken the canary, or those of other services' canaries in the same release.
    `stop` ends the wait of a change that gives the canary something.
    """

    target: Target
    stop: Stop = field(default_factory=Stop)
    wait_seconds: float = 300.0
    _has_dependencies: bool = field(default=False, init=False)

    def start(self, image: Image) -> None:
        """Deploy a canary that takes no requests and no events, with migrations and streams."""
        what = f"canary {image} of {self.target.service}: 0 %"
        self._upgrade(started_values(image), what, stop=self.stop)

    def set_weight(self, image: Image, weight: int) -> None:
        """Give the canary this share of the requests and of the lanes, in percent."""
        what = f"canary {image} of {self.target.service}: {weight} %"
        self._upgrade({"canary.weight": weight}, what, "--no-hooks", stop=self.stop)

    def promote(self, image: Image) -> None:
        """Give the stable version the canary's image, while the canary still serves."""
        self._upgrade(promoted_values(image), self._promotion(image), stop=self.stop)

    def way_back(self, image: Image) -> str:
        """Return the command that undoes a promotion of this image for the stable version.

        Other changes of the release remain. It is empty if helm no longer knows the revision
        before. Raises ToolFailed.
        """
        target = self.target
        history = json.loads(target.namespace.helm("history", target.release, "--output=json"))
        for before, after in reversed(list(pairwise(history))):
            if after["description"] == self._promotion(image):
                earlier = Image.of(target.values(before["revision"])["image"])
                sets = [self._set(*each) for each in promoted_values(earlier).items()]
                command = ("helm", "--namespace", target.namespace.name, "upgrade", target.release)
                options = (str(target.chart), "--reset-then-reuse-values", *sets)
                return " ".join((*command, *options))
        return ""

    def remove(self, why: str) -> None:
        """Give all requests and lanes to the stable version, and delete the canary."""
        self._upgrade(without_canary(), f"{why} of {self.target.service}", "--no-hooks")
        # Helm deletes only the objects of the last successful upgrade. Those of an upgrade that has
        # failed, or was killed, would run on.
        kinds = ("deployment", "horizontalpodautoscaler", "service", "configmap")
        made = (f"{kind}/{self.target.canary}" for kind in kinds)
        self.target.namespace.kubectl("delete", *made, "--ignore-not-found", "--wait=false")

    def _promotion(self, image: Image) -> str:
        return f"promote {image} of {self.target.service}"

    def _upgrade(
        self, values: Values, description: str, *options: str, stop: Stop | None = None
    ) -> None:
        """Change these values of the service and keep all others; `stop` ends the wait for it."""
        stop = stop or Stop()
        if self.target.below and not self._has_dependencies:
            update_dependencies(self.target.chart)
            self._has_dependencies = True
        ends_at = time.monotonic() + self.wait_seconds
        while True:
            stop.check()
            try:
                self._upgrade_once(values, description, *options)
                return
            except ToolFailed as error:
                if not any(text in str(error) for text in _OTHER_RUNS):
                    raise
                if time.monotonic() >= ends_at:
                    raise self._blocked(error) from error
            stop.pause(_REPEAT_SECONDS)

    def _blocked(self, error: ToolFailed) -> ToolFailed:
        """Return an error that says how a release is freed whose upgrade has not ended."""
        name = f"{self.target.release} --namespace {self.target.namespace.name}"
        return ToolFailed(
            f"{error}\nAnother upgrade of the release has not ended in {self.wait_seconds:g} s. If"
            f" its process was killed, free the release by `helm rollback {name} --no-hooks`, and"
            " run this command again."
        )

    def _upgrade_once(self, values: Values, description: str, *options: str) -> None:
        self.target.namespace.helm(
            *("upgrade", self.target.release, str(self.target.chart)),
            *("--reset-then-reuse-values", "--description", description, *options),
            *(self._set(name, value) for name, value in values.items()),
            seconds=_SECONDS,
            # An interrupted upgrade would leave a release that helm refuses to change.
            interruptible=False,
        )

    def _set(self, name: str, value: str | int) -> str:
        """Return helm's option for a value; a tag such as 42 remains a string."""
        option = "--set" if isinstance(value, int) else "--set-string"
        text = value if isinstance(value, str) else json.dumps(value)
        return f"{option}={self.target.key(name)}={text}"
