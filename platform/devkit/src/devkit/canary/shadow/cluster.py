"""Shadows on a cluster: both versions in a pod that exists only meanwhile."""

import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from chassis.exit_codes import NOTHING, USAGE
from devkit.canary.image import Image
from devkit.canary.pods import HOPELESS, image_of
from devkit.canary.shadow.lines import Written, read_lines
from devkit.canary.shadow.pod import CANARY, RECORD, SHADOW_OF, STABLE, shadow_pod
from devkit.canary.shadow.request import Request
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed
from devkit.errors import DevkitError, WrongUsage

__all__ = ["shadow_on_cluster"]

Say = Callable[[str, str], None]

_START_SECONDS = 300.0
_END_SECONDS = 30.0
_POLL_SECONDS = 1.0
# A command reads the results of its pod sooner than this after the pod has ended.
_LEFT = timedelta(minutes=5)


def shadow_on_cluster(
    namespace: Namespace, request: Request, tag: str, say: Say
) -> tuple[Written, Written]:
    """Record events and replay them to the stable version and to the image with this tag.

    Raises:
        WrongUsage: the namespace does not have the service, or the tag is not one.
        DevkitError: an image cannot be pulled, or a version cannot replay.
    """
    try:
        deployment = namespace.read("deployment", request.service)
    except ToolFailed as error:
        raise WrongUsage(
            f"namespace {namespace.name} has no Deployment {request.service}: give another one by"
            f" --namespace\n{error}"
        ) from error
    template = deployment["spec"]["template"]
    stable = image_of(template["spec"])
    canary = Image.named(tag, {"reference": stable}).reference
    name = f"{request.service}-shadow-{token_hex(3)}"
    for left in _left_behind(namespace, request.service):
        say(left, "deleted: the command that started it was killed")
        _delete(namespace, left)
    try:
        namespace.apply(shadow_pod(name, template, request, stable, canary), create=True)
        return _Run(namespace, name, say).results()
    finally:
        _delete(namespace, name)


def _left_behind(namespace: Namespace, service: str) -> list[str]:
    """Return the pods of a service's shadows that have ended and that no command reads."""
    before = datetime.now(UTC) - _LEFT
    pods = namespace.read("pods", "--selector", f"{SHADOW_OF}={service}")["items"]
    return [pod["metadata"]["name"] for pod in pods if _ended_before(before, pod["status"])]


def _ended_before(at: datetime, status: Mapping[str, Any]) -> bool:
    """Return whether all its containers but the mesh's had ended at a time."""
    states = {each["name"]: each["state"] for each in status.get("containerStatuses", ())}
    ends = [states.get(name, {}).get("terminated") for name in (RECORD, STABLE, CANARY)]
    return all(each and datetime.fromisoformat(each["finishedAt"]) < at for each in ends)


def _delete(namespace: Namespace, pod: str) -> None:
    with suppress(ToolFailed):
        namespace.kubectl("delete", "pod", pod, "--ignore-not-found", "--wait=false")


class _Run:
    """A pod of shadows from its start to the end of its containers."""

    def __init__(self, namespace: Namespace, pod: str, say: Say) -> None:
        self._namespace = namespace
        self._pod = pod
        self._say = say
        self._following: list[subprocess.Popen[str]] = []

    def results(self) -> tuple[Written, Written]:
        """Return what the stable version and the canary did. Raises DevkitError."""
        self._say(self._pod, "waiting for its containers to start")
        self._wait(self._started, _START_SECONDS)
        with ThreadPoolExecutor() as pool:
            try:
                logs = {name: pool.submit(self._log, name) for name in (RECORD, STABLE, CANARY)}
                # Without a recording the others wait for it in vain.
                self._check_recorded(logs[RECORD].result())
                stable, canary = logs[STABLE].result(), logs[CANARY].result()
            except BaseException:
                # The pool's threads wait for the ends of logs, and the pod is deleted after them.
                for following in self._following:
                    following.terminate()
                raise
        codes = self._wait(_codes_of(STABLE, CANARY), _END_SECONDS)
        for name, log in ((STABLE, stable), (CANARY, canary)):
            _check(name, codes[name], log)
        return read_lines(stable), read_lines(canary)

    def _check_recorded(self, log: list[str]) -> None:
        """Raise DevkitError if the first container, whose log has ended, recorded no events."""
        code = self._wait(_codes_of(RECORD), _END_SECONDS)[RECORD]
        if code == NOTHING:
            raise DevkitError("no stream holds an event that the service handles")
        _check(RECORD, code, log)

    def _wait(
        self, read: Callable[[Mapping[str, Any]], dict[str, int] | None], seconds: float
    ) -> dict[str, int]:
        """Poll the pod's status until `read` returns something. Raises DevkitError."""
        ends_at = time.monotonic() + seconds
        while True:
            status = self._namespace.read("pod", self._pod)["status"]
            if (found := read(status)) is not None:
                return found
            if time.monotonic() > ends_at:
                why = [c.get("message", "") for c in status.get("conditions", ())]
                raise DevkitError(
                    f"pod {self._pod} did not get further in {seconds:g} s: "
                    f"{'; '.join(filter(None, why)) or status.get('phase', 'unknown')}"
                )
            time.sleep(_POLL_SECONDS)

    def _started(self, status: Mapping[str, Any]) -> dict[str, int] | None:
        """Return something if every container runs or has run. Raises DevkitError if none can."""
        states = [each["state"] for each in status.get("containerStatuses", ())]
        for state in states:
            waiting = state.get("waiting", {})
            if waiting.get("reason") in HOPELESS:
                raise DevkitError(f"{waiting['reason']}: {waiting.get('message', '')}")
        started = len(states) >= len((RECORD, STABLE, CANARY)) and all(
            "waiting" not in state for state in states
        )
        return {} if started else None

    def _log(self, container: str) -> list[str]:
        """Follow a container's log to its end; say what is not JSON."""
        command = ["kubectl", "--namespace", self._namespace.name, "logs", "--follow", self._pod]
        lines = []
        with subprocess.Popen(
            [*command, f"--container={container}"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as following:
            self._following.append(following)
            for line in following.stdout or ():
                lines.append(line.rstrip("\n"))
                if not line.startswith("{"):
                    self._say(container, lines[-1])
        return lines


def _codes_of(*names: str) -> Callable[[Mapping[str, Any]], dict[str, int] | None]:
    """Return a function of a pod's status: containers' exit codes, None while one of them runs."""

    def read(status: Mapping[str, Any]) -> dict[str, int] | None:
        states = {each["name"]: each["state"] for each in status["containerStatuses"]}
        ended = {name: states[name].get("terminated") for name in names}
        if not all(ended.values()):
            return None
        return {name: int(each["exitCode"]) for name, each in ended.items() if each}

    return read


def _check(name: str, code: int, log: list[str]) -> None:
    """Raise DevkitError if a container failed."""
    if code == 0:
        return
    if code == USAGE:
        raise DevkitError(
            f"the image of {name} refuses the arguments: its chassis may be older than this one\n"
            + "\n".join(log[-3:])
        )
    said = [line for line in log if not line.startswith("{")] or log
    raise DevkitError(f"{name} ended with code {code}:\n" + "\n".join(said[-10:]))
