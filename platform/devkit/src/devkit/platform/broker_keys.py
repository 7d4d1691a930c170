"""The services' broker keys with least privilege, for a platform on this machine."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from devkit.broker.keys import make_keys
from devkit.broker.permissions import permissions_of_all
from devkit.broker.server_config import authorization
from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.service_process import POLL_SECONDS, ServiceProcess
from devkit.workspace import Workspace

__all__ = ["apply_all_streams", "authorize"]


def authorize(workspace: Workspace, keys: Path) -> str:
    """Make missing keys of the services and the release in the folder `keys`.

    Returns the broker's configuration, which admits these keys only.
    """
    allowed = permissions_of_all(describe_platform(workspace))
    return authorization(allowed, {key.name: key.public for key in make_keys(keys, allowed)})


def apply_all_streams(processes: Iterable[ServiceProcess], keys: Path) -> None:
    """Create every service's streams with the release's key, as in a release.

    If a service has a canary, the canary creates them, because its code is newer.

    Raises:
        DevkitError: a command failed; the message contains its output.
    """
    release = {"APP_NATS_NKEY_SEED_FILE": str(keys / "release.nk")}
    with TemporaryDirectory() as outputs:
        commands = [
            replace(
                process,
                arguments=("broker", "apply"),
                environment=process.environment | release,
                log=Path(outputs) / f"{process.name}.log",
            )
            for process in processes
            if process.replica == 0 and process.track != "stable"
        ]
        for command in commands:
            command.start()
        for command in commands:
            while command.running:
                time.sleep(POLL_SECONDS)
            if command.exit_code:
                output = "\n".join(command.lines())
                raise DevkitError(f"{command.package} broker apply failed:\n{output}")
