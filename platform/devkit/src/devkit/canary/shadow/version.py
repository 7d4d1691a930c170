"""A version of a service on this machine, which runs one of its commands at a time."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from chassis.exit_codes import NOTHING, USAGE
from devkit.errors import DevkitError

__all__ = ["Say", "Version", "run_together"]

Say = Callable[[str, str], None]
"""Tells the user what a version says: the version and a sentence."""

_NO_SHADOW = "invalid choice: 'shadow'"


@dataclass(eq=False)
class Version:
    """A version of the service: its package, in a folder, with these environment variables."""

    name: str
    package: str
    folder: Path
    environment: Mapping[str, str]
    say: Say
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def run(self, arguments: Sequence[str]) -> int:
        """Run a command and return its exit code; an interrupted wait for it ends it.

        Raises:
            DevkitError: it fails.
        """
        command = [sys.executable, "-m", self.package, *arguments]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                self._note(process)
                said = self._pass_on(process.stderr or ())
            except BaseException:
                # After an interrupt, Popen itself leaves a process that has not ended.
                self.stop()
                process.wait()
                raise
        code = process.returncode
        if code == USAGE and any(_NO_SHADOW in line for line in said):
            raise DevkitError(
                f"the {self.name} version has no command `events shadow`: choose a newer one"
            )
        if code not in (0, NOTHING):
            reason = "\n".join(said[-5:]) or f"it ended with code {code}"
            raise DevkitError(f"the {self.name} version cannot replay: {reason}")
        return code

    def stop(self) -> None:
        """End the running command, and each one that is run from now on."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()

    def _note(self, process: subprocess.Popen[str]) -> None:
        """Remember the running command, which is ended at once after `stop`."""
        with self._lock:
            self._process = process
            if self._stopped:
                process.terminate()

    def _pass_on(self, stream: Iterable[str]) -> list[str]:
        """Say what the command says, without lines of its log; return all lines."""
        lines = []
        for line in stream:
            lines.append(line.rstrip("\n"))
            if not line.startswith("{"):
                self.say(self.name, lines[-1])
        return lines


def run_together(commands: Mapping[Version, Sequence[str]]) -> None:
    """Run a command of each version at once; if one fails or the wait is interrupted, end all.

    Raises:
        DevkitError: one has failed.
    """
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(version.run, command) for version, command in commands.items()]
        try:
            for each in running:
                each.result()
        except BaseException:
            for version in commands:
                version.stop()
            raise
