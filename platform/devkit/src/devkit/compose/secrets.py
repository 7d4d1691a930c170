"""Passwords and keys of the platform in containers. Git ignores their folder, docker/.secrets.

postgres.env                          POSTGRES_PASSWORD of the superuser
grafana.password                      the password of Grafana's administrator
databases/NAME/{owner,service}        passwords of a database's two roles
NAME/{owner,service}/APP_DATABASE_URL URLs with these passwords, for the containers
nats/                                 broker keys and the broker's configuration of its users
NAME/nkey.seed                        the seed of a service's broker key
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
    """Make the files that are missing in `folder`, and return them.

    The folder is closed to other users. Its files are readable by all users, because a container
    reads the files mounted into it as a user that this machine does not know.
    """
    made: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _read_or_make(folder / "postgres.env", f"POSTGRES_PASSWORD={_password()}\n", made)
    _read_or_make(folder / "grafana.password", _password(), made)
    for service in platform.services:
        if service.database:
            for role, user in (("owner", f"{service.name}_owner"), ("service", service.name)):
                password = _read_or_make(
                    folder / "databases" / service.name / role, _password(), made
                )
                url = f"postgresql://{user}:{password}@postgres/{service.name}"
                _read_or_make(folder / service.name / role / "APP_DATABASE_URL", url, made)
    _make_broker_keys(platform, folder, made)
    return made


def _make_broker_keys(platform: PlatformDescription, folder: Path, made: list[Path]) -> None:
    """Make missing keys of the services, and write the broker's list of users."""
    allowed = permissions_of_all(platform)
    keys = folder / "nats"
    for key in make_keys(keys, allowed):
        seed = key.seed_file.read_text(encoding="utf-8")
        _read_or_make(folder / key.name / "nkey.seed", seed, made)
    file = keys / "permissions.conf"
    file.write_text(authorization(allowed, public_keys(keys, allowed)), encoding="utf-8")


def _read_or_make(file: Path, content: str, made: list[Path]) -> str:
    """Return the file's content; write `content` first if there is no file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        file.chmod(0o644)
        made.append(file)
    return file.read_text(encoding="utf-8").strip()


def _password() -> str:
    return secrets.token_urlsafe(_BYTES)
