"""Files of nkeys: one key for each service and one for the release.

`<name>.nk` holds the seed, which only its owner can read; `<name>.pub` holds the public key, which
goes into the broker's configuration.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devkit.errors import DevkitError

__all__ = ["Key", "make_keys", "public_keys", "secret_manifests"]

_SEED_MODE = 0o600
_PUBLIC_MODE = 0o644
_SECRET_KEY = "nkey.seed"


@dataclass(frozen=True)
class Key:
    """The files of one key, and what `make_keys` did to them."""

    name: str
    seed_file: Path
    public: str
    done: Literal["made", "rotated", "kept"]


def make_keys(folder: Path, names: Iterable[str], *, rotate: bool = False) -> list[Key]:
    """Make the keys that are missing in the folder; with `rotate`, replace the existing ones.

    Raises:
        DevkitError: the folder or a file in it cannot be written or read.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [_make_key(folder, name, rotate) for name in names]
    except OSError as error:
        raise DevkitError(f"{error.filename or folder}: {error.strerror}") from error


def public_keys(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the public keys by name.

    Raises:
        DevkitError: a key is missing, or is not the public nkey of a user.
    """
    return {name: _read_public_key(folder, name) for name in names}


def secret_manifests(keys: Iterable[Key]) -> str:
    """Return a Kubernetes Secret named `<name>-nats` for each key, as YAML documents."""
    import yaml

    return yaml.safe_dump_all(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{key.name}-nats"},
                "type": "Opaque",
                "stringData": {_SECRET_KEY: _read(key.seed_file)},
            }
            for key in keys
        ],
        sort_keys=False,
    )


def _make_key(folder: Path, name: str, rotate: bool) -> Key:
    """Create a user's key or replace it if `rotate`; keep an existing one otherwise."""
    file = folder / f"{name}.nk"
    exists = file.exists()
    if exists and not rotate:
        public = _public_key_of_seed(file)
        _write(folder / f"{name}.pub", public, _PUBLIC_MODE)
        return Key(name, file, public, "kept")
    seed = _new_seed()
    _write(file, seed, _SEED_MODE)
    public = _public_key_of_seed(file)
    _write(folder / f"{name}.pub", public, _PUBLIC_MODE)
    return Key(name, file, public, "rotated" if exists else "made")


def _write(file: Path, text: str, mode: int) -> None:
    """Write a file atomically, so that no process reads a partial file or an unprotected seed."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{text}\n")
        temporary.chmod(mode)  # The umask may have removed bits.
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _new_seed() -> str:
    """Return the seed of a new user's nkey."""
    import nkeys  # type: ignore[import-untyped]

    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)).decode("ascii")


def _public_key_of_seed(file: Path) -> str:
    """Return the public key of a seed file; refuse a file that contains no seed."""
    import nkeys

    try:
        pair = nkeys.from_seed(bytearray(_read(file).encode("ascii")))
        return bytes(pair.public_key).decode("ascii")
    except (nkeys.NkeysError, ValueError) as error:
        raise DevkitError(
            f"{file} does not contain an nkey's seed: delete it, and run the command again"
        ) from error


def _read_public_key(folder: Path, name: str) -> str:
    """Return a user's public key; raise DevkitError if it is missing or not valid."""
    file = folder / f"{name}.pub"
    try:
        public = _read(file)
    except OSError as error:
        raise DevkitError(
            f"there is no key of {name} in {folder}: `slipway broker keys --out {folder}` makes it"
        ) from error
    if not (public.startswith("U") and public.isalnum() and public.isascii()):
        raise DevkitError(f"{file} does not contain the public nkey of a user")
    return public


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


def names_of(services: Iterable[str]) -> Iterator[str]:
    """Yield the names of the keys: those of the services, and the release's.

    Raises:
        DevkitError: a service has the release's name.
    """
    from chassis.events.release.permissions import RELEASE

    for service in services:
        if service == RELEASE:
            raise DevkitError(f"a service cannot be named {RELEASE}: that key makes the streams")
        yield service
    yield RELEASE
