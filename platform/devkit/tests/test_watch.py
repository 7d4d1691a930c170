"""Services that a change restarts, and the back-off of a service that dies."""

import subprocess
import sys
from pathlib import Path

import pytest

from devkit.doctor import check_watching
from devkit.services import ServiceDefinition
from devkit.supervisor import back_off_seconds
from devkit.watch import affected
from devkit.workspace import Workspace

ROOT = Path("/workspace")
SHARED = [ROOT / "platform/chassis/src", ROOT / "contracts"]


def service(name: str) -> ServiceDefinition:
    source = ROOT / f"services/{name}/src"
    return ServiceDefinition(name, name, source, 1, None, {}, False)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["services/lending/src/lending/rpc.py"], ["lending"]),
        (["services/lending/src/a.py", "services/shelves/src/b.py"], ["lending", "shelves"]),
        (["platform/chassis/src/chassis/errors.py"], ["lending", "shelves"]),
        (["contracts/library/v1/__init__.py"], ["lending", "shelves"]),
        (["services/lending/tests/test_it.py"], []),
        (["services/lending2/src/lending2/rpc.py"], []),
    ],
)
def test_a_change_restarts_those_that_import_it(files: list[str], names: list[str]) -> None:
    services = [service("lending"), service("shelves")]

    assert affected([ROOT / file for file in files], SHARED, services) == names


def test_the_wait_doubles_up_to_a_limit() -> None:
    assert [back_off_seconds(failures) for failures in range(1, 8)] == [
        0.25,
        0.5,
        1,
        2,
        4,
        8,
        10,
    ]
    assert back_off_seconds(100_000) == 10


# A user's limits can be set in a new user namespace without effect on other processes.
LIMITED = ["unshare", "--user", "--map-root-user", "sh", "-c"]
WATCHER = """
import asyncio, sys
from pathlib import Path

from devkit.doctor import check_watching
from devkit.services import ServiceDefinition
from devkit.watch import changed_services
from devkit.workspace import Workspace

async def main() -> None:
    workspace = Workspace(Path(sys.argv[1]))
    source = workspace.root / "services/lending/src"
    service = ServiceDefinition("lending", "lending", source, 1, None, {}, False)
    changes = changed_services(workspace, [service], lambda reason: print("polling:", reason))
    finding = await asyncio.to_thread(check_watching, workspace)
    print("doctor:", finding.ok, finding.needed, finding.advice)
    news = asyncio.ensure_future(anext(changes))
    number = 0
    while not news.done():
        number += 1
        (source / "lending/rpc.py").write_text(f"x = {number}", encoding="utf-8")
        await asyncio.wait({news}, timeout=0.5)
    names, files = news.result()
    print("changed:", names, [file.name for file in files])

asyncio.run(asyncio.wait_for(main(), 60))
"""


def watch_under(limit: str, workspace: Workspace) -> list[str]:
    """Return the messages about a change with the system's limit of that name set to 0."""
    script = f'echo 0 > /proc/sys/user/{limit} && exec "$0" -c "$1" "$2"'
    command = [*LIMITED, script, sys.executable, WATCHER, str(workspace.root)]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    except FileNotFoundError:
        pytest.skip("this machine has no unshare")
    if "unshare" in done.stderr or "/proc/sys/user" in done.stderr:
        pytest.skip(f"limits cannot be set here: {done.stderr.strip()}")
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("max_inotify_watches", "OS file watch limit reached."),
        ("max_inotify_instances", "Error creating recommended watcher: Too many open files"),
    ],
)
def test_where_the_system_tells_of_no_change_files_are_looked_at(
    workspace: Workspace, limit: str, reason: str
) -> None:
    doctor, polling, changed = watch_under(limit, workspace)
    assert doctor.startswith("doctor: False False `sudo sysctl fs.inotify.max_user_watches=")
    assert polling.startswith(f"polling: {reason}")
    assert changed == "changed: ['lending'] ['rpc.py']"


async def test_where_the_system_tells_of_changes_nothing_is_said(workspace: Workspace) -> None:
    assert check_watching(workspace).ok
