"""A canary that migrates the database: both versions run on the newer schema."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from devkit.local_canary import CanaryOptions
from devkit.platform import Platform, PlatformOptions
from devkit.service_process import ServiceProcess
from devkit.workspace import Workspace
from localservers.program import installed_program

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("restarts"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
    ),
]

ROOT = Path(__file__).parents[2]
MIGRATIONS = "services/inventory/src/inventory/migrations"
SECONDS = 90.0

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "inventory_9999"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("products", sa.Column("shelf", sa.String(20), nullable=True))
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A repository with the service inventory, and a migration that is not committed."""
    root = tmp_path / "clone"
    shutil.copytree(
        ROOT / "services/inventory",
        root / "services/inventory",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (root / "pyproject.toml").write_text(
        '[tool.uv.workspace]\nmembers = ["services/*"]\n', encoding="utf-8"
    )
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=me", "-c", "user.email=me@example.org", "commit", "-qm", "First"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    newest = max((root / MIGRATIONS).glob("[0-9]*.py")).read_text(encoding="utf-8")
    (revision,) = re.findall(r'^revision = "(.*)"$', newest, re.MULTILINE)
    (root / MIGRATIONS / "9999_shelf.py").write_text(
        _MIGRATION.format(newest=revision), encoding="utf-8"
    )
    # The environment's own package is the one of this repository.
    monkeypatch.setenv("PYTHONPATH", str(root / "services/inventory/src"))
    return Workspace(root)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_the_stable_version_runs_and_starts_again_on_the_schema_of_the_canary(
    clone: Workspace, tmp_path: Path, database: Literal["sqlite", "postgres"]
) -> None:
    options = PlatformOptions(
        data=tmp_path / "data",
        workspace=clone,
        free_ports=True,
        restart=False,
        database=database,
        canary=CanaryOptions({"inventory": 30}),
    )
    async with Platform(options) as platform:
        await platform.wait_ready(SECONDS)
        stable, canary = platform.of("inventory")
        assert "shelf" in columns(canary)

        await stable.stop()
        stable.start()
        await stable.wait_ready(SECONDS)

        assert "schema is newer than this code" in "\n".join(stable.lines())
        assert "waiting for the database" not in "\n".join(stable.lines())
        # The same command is the init container of a pod of the stable version.
        told = migrate(stable)
        assert told.returncode == 0, told
        assert "inventory_9999) is newer than this code" in told.stdout


def columns(process: ServiceProcess) -> set[str]:
    engine = sa.create_engine(process.environment["APP_DATABASE_URL"])
    try:
        return {str(column["name"]) for column in sa.inspect(engine).get_columns("products")}
    finally:
        engine.dispose()


def migrate(process: ServiceProcess) -> subprocess.CompletedProcess[str]:
    """Migrate the database with the code of a process."""
    return subprocess.run(
        [sys.executable, "-m", process.package, "migrate"],
        env=os.environ | process.environment,
        cwd=process.folder,
        capture_output=True,
        encoding="utf-8",
    )
