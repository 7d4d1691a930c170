"""The process that migrates at a start in development, so that the service holds no alembic."""

import subprocess
import sys
from pathlib import Path

import pytest

from chassis.database import migrate
from chassis.sqlite_url import sqlite_url

pytestmark = pytest.mark.timeout(120)

_START = """
import asyncio, os, sys
from functools import partial
from chassis._database_start import open_database
from chassis._migration_process import MigrationProcess
from chassis.database import migrate
from chassis.readiness import Readiness
from chassis import Service, ServiceSettings

url, calls = sys.argv[1], sys.argv[2]

def migrate_and_say(**service):
    with open(calls, "a") as file:
        print(os.getpid(), file=file)
    migrate(url, **service)

service = Service("books", settings=ServiceSettings, migrations=sys.argv[3] or None)
settings = ServiceSettings(database_url=url)
process = MigrationProcess.start(partial(migrate_and_say, service="books"))

async def start():
    database = await open_database(service, settings, Readiness(), process)
    database.close()

asyncio.run(start())
print(any(name.startswith("alembic") for name in sys.modules), os.getpid())
"""


def _start(url: str, calls: Path, migrations: str = "") -> tuple[str, str]:
    """Start on a database; return whether the process imported alembic, and its id."""
    ran = subprocess.run(
        [sys.executable, "-c", _START, url, str(calls), migrations],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        cwd=Path(__file__).parent,
    )
    assert ran.returncode == 0, ran.stderr
    imported, pid = ran.stdout.split()
    return imported, pid


@pytest.mark.skipif(sys.platform != "linux", reason="the number of threads is unknown elsewhere")
def test_a_process_of_its_own_migrates_and_a_migrated_database_needs_none(tmp_path: Path) -> None:
    url, calls = sqlite_url(tmp_path / "books.db"), tmp_path / "calls"
    imported, pid = _start(url, calls)
    assert imported == "False"
    (caller,) = calls.read_text(encoding="utf-8").split()
    assert caller != pid
    assert not migrate(url, service="books").changed
    calls.unlink()
    assert _start(url, calls)[0] == "False"
    assert not calls.exists()


def test_what_a_process_of_its_own_has_not_migrated_the_service_migrates(tmp_path: Path) -> None:
    url, calls = sqlite_url(tmp_path / "books.db"), tmp_path / "no folder" / "calls"
    imported, _ = _start(url, calls)
    assert imported == "True"
    assert not migrate(url, service="books").changed


@pytest.mark.skipif(sys.platform != "linux", reason="the number of threads is unknown elsewhere")
def test_a_process_that_is_not_told_to_migrate_ends_with_the_one_that_forked_it() -> None:
    program = (
        "import os, signal; from chassis._migration_process import MigrationProcess;"
        "MigrationProcess.start(lambda: print('migrated', flush=True));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    # The pipe of the output is at its end only when both processes have ended.
    ran = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, encoding="utf-8", timeout=60
    )
    assert ran.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the number of threads is unknown elsewhere")
def test_a_process_with_other_threads_is_not_forked() -> None:
    program = (
        "import threading; from chassis._migration_process import MigrationProcess;"
        "event = threading.Event(); threading.Thread(target=event.wait).start();"
        "print(MigrationProcess.start(print)); event.set()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, encoding="utf-8", timeout=60
    )
    assert ran.stdout == "None\n"
