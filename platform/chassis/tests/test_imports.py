"""What a service author imports."""

import subprocess
import sys

import chassis

_EACH_FIRST = """
import importlib, os, sys
import google.protobuf, nats, sqlalchemy.orm, structlog  # once, not for every name
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


def test_whatever_is_imported_first_can_be_imported() -> None:
    names = [f"chassis:{name}" for name in chassis.__all__] + _MODULES
    run = subprocess.run(
        [sys.executable, "-c", _EACH_FIRST, *names],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
