"""The services' broker keys with least privilege, for a platform on this machine."""

from collections.abc import Iterable
from pathlib import Path

from devkit.broker.apply import apply_streams
from devkit.broker.keys import make_keys
from devkit.broker.permissions import permissions_of_all
from devkit.broker.server_config import authorization
from devkit.describing.reading import describe_platform
from devkit.service_process import ServiceProcess
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
    """
    release = {"APP_NATS_NKEY_SEED_FILE": str(keys / "release.nk")}
    apply_streams(
        (process.package, process.environment | release)
        for process in processes
        if process.replica == 0 and process.track != "stable"
    )
