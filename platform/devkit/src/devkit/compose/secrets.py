"""Passwords and keys of the platform in containers: made once, kept in docker/.secrets, never
committed.

postgres.env                          POSTGRES_PASSWORD, the superuser's
databases/NAME/{owner,service}        passwords of a database's two roles
NAME/{owner,service}/APP_DATABASE_URL the same in the URLs that the containers get
"""

import secrets
from pathlib import Path

from devkit.broker.keys import make_keys, public_keys
from devkit.broker.permissions import permissions_of_all
from devkit.broker.server_config import authorization
from devkit.describing.description import PlatformDescription

__all__ = ["make_secrets"]

_BYTES = 24


def make_secrets(platform: PlatformDescription, folder: Path) -> list[Path]:
    """Makes what is missing in `folder` and leaves what is there; returns the files made.

    The folder is its owner's only. The files in it are everybody's: a container reads its own,
    mounted one by one, as a user that has no name on this machine.
    """
    made: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _make(folder / "postgres.env", f"POSTGRES_PASSWORD={_password()}\n", made)
    _make(folder / "grafana.password", _password(), made)
    for service in platform.services:
        if service.database:
            for role, user in (("owner", f"{service.name}_owner"), ("service", service.name)):
                password = _make(folder / "databases" / service.name / role, _password(), made)
                url = f"postgresql://{user}:{password}@postgres/{service.name}"
                _make(folder / service.name / role / "APP_DATABASE_URL", url, made)
    _make_keys(platform, folder, made)
    return made


def _make_keys(platform: PlatformDescription, folder: Path, made: list[Path]) -> None:
    allowed = permissions_of_all(platform)
    keys = folder / "nats"
    for key in make_keys(keys, allowed):
        seed = key.seed_file.read_text(encoding="utf-8")
        _make(folder / key.name / "nkey.seed", seed, made)
    file = keys / "permissions.conf"
    file.write_text(authorization(allowed, public_keys(keys, allowed)), encoding="utf-8")


def _make(file: Path, content: str, made: list[Path]) -> str:
    """What the file holds, which is `content` if there was none."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        file.chmod(0o644)
        made.append(file)
    return file.read_text(encoding="utf-8").strip()


def _password() -> str:
    return secrets.token_urlsafe(_BYTES)
