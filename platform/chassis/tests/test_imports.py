"""The imports of a service's author: each name can be the first that is imported."""

import subprocess
import sys

import chassis

_EACH_FIRST = """
import importlib, os, sys
import google.protobuf, nats, sqlalchemy.orm, structlog  # shared by all children, to save time
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        module, _, name = name.partition(":")
        imported = importlib.import_module(module)
        if name:
            getattr(imported, name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} cannot be imported first")
"""
_MODULES = ["chassis.database", "chassis.errors", "chassis.settings", "chassis.testing"]


def test_each_public_name_can_be_the_first_that_is_imported() -> None:
    names = [f"chassis:{name}" for name in chassis.__all__] + _MODULES
    run = subprocess.run(
        [sys.executable, "-c", _EACH_FIRST, *names],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert run.returncode == 0, run.stderr


def test_a_service_runs_without_rich_and_pygments_though_they_are_installed() -> None:
    program = (
        "import sys, chassis._commands, chassis._process, chassis.database.upgrade;"
        "print([name for name in ('rich', 'pygments') if name in sys.modules]);"
        "import rich, pygments"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert ran.stdout == "[]\n"
