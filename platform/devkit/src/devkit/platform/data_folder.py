"""The folder of a platform's databases, streams, logs and its state file."""

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from devkit.errors import DevkitError
from devkit.local_canary import CanaryFiles
from devkit.state import (
    PlatformState,
    ServerState,
    ServiceState,
    read_state,
    remove_state,
    write_state,
)

__all__ = ["StateFile", "prepare_data_folder"]


def prepare_data_folder(data: Path) -> None:
    """Make the folders of databases and logs.

    Raises:
        DevkitError: another platform runs with this folder, or the folder is not writable.
    """
    state = read_state(data)
    if state is not None and state.alive:
        raise DevkitError(
            f"a platform with its data in {data} is running already"
            f" (process {state.runner_pid}, since {state.started_at})."
            " `slipway ps` shows it; stop it with Ctrl-C in its terminal."
        )
    try:
        (data / "data").mkdir(parents=True, exist_ok=True)
        (data / "logs").mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        raise DevkitError(
            f"{data} cannot be written ({error.strerror}), and databases, streams and logs"
            " go there: name another folder with SLIPWAY_STATE=…"
        ) from error


class StateFile:
    """The file that tells other terminals what this platform runs."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._written = False

    def write(
        self,
        servers: Sequence[ServerState],
        services: Sequence[ServiceState],
        canaries: Sequence[CanaryFiles],
    ) -> None:
        """Replace the file."""
        state = PlatformState(
            runner_pid=os.getpid(),
            runner_started=psutil.Process().create_time(),
            started_at=self._started_at,
            servers=list(servers),
            services=list(services),
            canaries=list(canaries),
        )
        write_state(self._data, state)
        self._written = True

    def remove(self) -> None:
        """Remove the file if it is this platform's: another platform keeps its own."""
        if self._written:
            remove_state(self._data)
            self._written = False
