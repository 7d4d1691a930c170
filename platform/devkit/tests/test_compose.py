"""The passwords of the platform in containers."""

from dataclasses import replace
from pathlib import Path

import pytest

from devkit.compose.secrets import make_secrets
from devkit.describing.description import (
    HttpSurface,
    PlatformDescription,
    Probes,
    ServiceDescription,
)

pytestmark = pytest.mark.unit

DESK = ServiceDescription(
    name="desk",
    distribution="slipway-desk",
    package="desk",
    folder="services/desk",
    version="0.1.0",
    http=HttpSurface(8085, paths=()),
    grpc=None,
    calls=(),
    callers=(),
    publishes=(),
    subscribes=(),
    settings=(),
    database=True,
    migrations=True,
    probes=Probes(),
)


def platform_of(*services: ServiceDescription) -> PlatformDescription:
    return PlatformDescription(Path("nowhere"), services, lanes=20)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / ".secrets"
    assert make_secrets(platform_of(DESK), folder) != []
    before = contents(folder)
    assert make_secrets(platform_of(DESK), folder) == []
    assert contents(folder) == before
    make_secrets(platform_of(DESK, replace(DESK, name="till")), folder)
    after = contents(folder)
    # Permissions are derived from the code and are not secret, so their file is written each time.
    assert {file for file in before if after[file] != before[file]} == {"nats/permissions.conf"}


def test_every_role_has_its_own_password_in_its_own_url(tmp_path: Path) -> None:
    make_secrets(
        platform_of(DESK, replace(DESK, name="till"), replace(DESK, name="door", database=False)),
        tmp_path,
    )
    found = contents(tmp_path)
    passwords = {name: text for name, text in found.items() if name.startswith("databases/")}
    assert len(set(passwords.values())) == 4
    assert not any(name.startswith("databases/door") for name in found)
    for role, user in (("owner", "desk_owner"), ("service", "desk")):
        password = passwords[f"databases/desk/{role}"]
        url = f"postgresql://{user}:{password}@postgres/desk"
        assert found[f"desk/{role}/APP_DATABASE_URL"] == url


def test_the_folder_is_its_owners_only(tmp_path: Path) -> None:
    folder = tmp_path / ".secrets"
    make_secrets(platform_of(DESK), folder)
    assert folder.stat().st_mode & 0o777 == 0o700
