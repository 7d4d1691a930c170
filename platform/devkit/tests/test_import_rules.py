"""Every import rule is broken once, in packages made for it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.import_rules import foreign_imports_of_tests
from devkit.workspace import Workspace

Write = Callable[[str, str], Path]

CHECK = """
import sys
from pathlib import Path
from devkit.import_rules import check_imports
from devkit.workspace import Workspace
check_imports(Workspace(Path(sys.argv[1])))
"""


def check(workspace: Workspace) -> str:
    """Return the check's output, run in a process whose import path is the small workspace."""
    roots = [str(member.source_root) for member in workspace.members]
    real = Path(__file__).parents[1] / "src"
    # The real devkit runs the check; import-linter imports the small workspace's packages.
    script = f"import sys; sys.path.insert(0, {str(real)!r})\n{CHECK}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(workspace.root)],
        env={"PYTHONPATH": ":".join(roots), "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture(autouse=True)
def modules(write: Write) -> None:
    for module in ("domain", "tables", "handlers", "rpc", "service"):
        write(f"services/lending/src/lending/{module}.py", "")
    write("platform/chassis/src/chassis/errors.py", "")
    write("platform/chassis/src/chassis/database.py", "from chassis import errors\n")
    write("platform/chassis/src/chassis/events/__init__.py", "")
    for module in ("wire/lanes", "jetstream/streams", "consumer/reader", "producer/relay"):
        package = write(f"platform/chassis/src/chassis/events/{module}.py", "").parent
        write(f"{package}/__init__.py", "")


def test_members_that_keep_the_rules_pass(workspace: Workspace, write: Write) -> None:
    write("services/lending/src/lending/domain.py", "from chassis.errors import __doc__\n")
    write("services/lending/src/lending/handlers.py", "import chassis, library, sqlalchemy, json\n")
    write("services/lending/src/lending/service.py", "from lending import handlers, rpc, tables\n")

    assert check(workspace) == ""


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("services/lending/src/lending/rpc.py", "import shelves", "services don't import each"),
        ("services/lending/src/lending/rpc.py", "import devkit", "services import no tools"),
        ("services/lending/src/lending/rpc.py", "import localservers", "services import no tools"),
        (
            "services/lending/src/lending/rpc.py",
            "import chassis.events.wire.lanes",
            "right below it",
        ),
        ("services/lending/src/lending/handlers.py", "import grpc.aio", "by the chassis only"),
        ("services/lending/src/lending/rpc.py", "from nats import connect", "by the chassis only"),
        ("services/lending/src/lending/handlers.py", "import extra", "services import no tools"),
        ("services/lending/src/lending/tables.py", "import lending.rpc", "know no caller"),
        ("services/lending/src/lending/domain.py", "import lending.service", "know no caller"),
        ("services/lending/src/lending/domain.py", "import sqlalchemy", "domain does no I/O"),
        ("services/lending/src/lending/domain.py", "import chassis.database", "domain does no I/O"),
        ("services/lending/src/lending/domain.py", "import lending.tables", "domain does no I/O"),
        ("platform/chassis/src/chassis/errors.py", "import lending", "nothing above it"),
        ("platform/chassis/src/chassis/errors.py", "import devkit", "nothing above it"),
        ("platform/chassis/src/chassis/errors.py", "import localservers", "nothing above it"),
        (
            "platform/localservers/src/localservers/__init__.py",
            "import chassis.errors",
            "no other member",
        ),
        ("platform/chassis/src/chassis/errors.py", "import library", "nothing above it"),
        (
            "platform/chassis/src/chassis/events/wire/lanes.py",
            "import chassis.events.jetstream.streams",
            "chassis.events has layers",
        ),
        (
            "platform/chassis/src/chassis/events/producer/relay.py",
            "import chassis.events.consumer.reader",
            "chassis.events has layers",
        ),
        ("platform/chassis/src/chassis/events/unplaced.py", "", "chassis.events has layers"),
        (
            "platform/chassis/src/chassis/errors.py",
            "import chassis.database",
            "no imports in a circle",
        ),
        ("platform/devkit/src/devkit/__init__.py", "import library", "devkit knows no contracts"),
        ("contracts/library/__init__.py", "import lending", "contracts are data"),
    ],
)
def test_an_import_that_breaks_a_rule_is_named(
    workspace: Workspace, write: Write, file: str, line: str, rule: str
) -> None:
    write(file, line + "\n")

    said = check(workspace)

    assert f"{rule}" in said
    assert "BROKEN" in said
    assert "move the code" in said


def test_a_test_of_the_platform_that_imports_contracts_is_named(
    workspace: Workspace, write: Write
) -> None:
    write("platform/chassis/tests/test_it.py", "import localservers\nfrom library.v1 import Book\n")
    write("platform/localservers/tests/test_it.py", "import json, chassis.errors\n")
    write("platform/devkit/tests/deep/test_it.py", "def test() -> None:\n    import lending\n")

    assert list(foreign_imports_of_tests(workspace)) == [
        "platform/localservers/tests/test_it.py:1: a test of slipway-localservers imports"
        " chassis.errors",
        "platform/chassis/tests/test_it.py:2: a test of slipway-chassis imports library.v1",
        "platform/devkit/tests/deep/test_it.py:2: a test of slipway-devkit imports lending",
    ]
