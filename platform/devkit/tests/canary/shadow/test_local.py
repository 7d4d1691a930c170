"""A shadow on this machine takes the working tree as canary, whatever runs next to it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chassis.exit_codes import NOTHING
from devkit.canary.shadow.local import shadow_locally
from devkit.canary.shadow.request import Request
from devkit.errors import DevkitError
from devkit.state import PlatformState, ServiceState, write_state
from devkit.workspace import Workspace

WriteService = Callable[..., None]
Write = Callable[[str, str], None]


@pytest.fixture
def service(shop: Workspace, write_service: WriteService, write: Write, desk: str) -> str:
    """A service with a database, in a git repository, whose commands name their file."""
    write_service(
        desk, http=1, settings='database_url: SecretStr = SecretStr("sqlite:////nowhere")'
    )
    write(
        f"services/{desk}/src/{desk}/__main__.py",
        "import os, pathlib, sys\n"
        "pathlib.Path(os.environ['SEEN']).write_text(__file__, encoding='utf-8')\n"
        f"sys.exit({NOTHING})\n",
    )
    for arguments in (["init", "--quiet"], ["add", "--all"], [*_AUTHOR, "commit", "-qm", "All"]):
        subprocess.run(["git", *arguments], cwd=shop.root, check=True)
    return desk


_AUTHOR = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]


def state_of(name: str, track: str, environment: dict[str, str]) -> ServiceState:
    return ServiceState(name, name, 0, 1, 1, None, 0, "", environment, track)


def test_a_stable_version_next_to_a_local_canary_does_not_stand_for_the_working_tree(
    shop: Workspace, service: str, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    other = checkout / service
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "__main__.py").touch()
    seen = {"SEEN": str(tmp_path / "seen")}
    runner = psutil.Process(os.getpid())
    shop.state.mkdir(parents=True, exist_ok=True)
    services = [
        state_of(service, "stable", {**seen, "PYTHONPATH": str(checkout)}),
        state_of(service, "canary", seen),
    ]
    write_state(
        shop.state, PlatformState(runner.pid, runner.create_time(), "now", services=services)
    )

    with pytest.raises(DevkitError, match="no stream holds an event"):
        shadow_locally(shop, Request(service, 10), "HEAD", lambda _version, _text: None)

    ran = Path((tmp_path / "seen").read_text(encoding="utf-8"))
    assert ran == shop.root / f"services/{service}/src/{service}/__main__.py"
