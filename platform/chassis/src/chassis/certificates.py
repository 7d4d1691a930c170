"""Certificates and keys in PEM files, as settings name them."""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Certificates", "unreadable"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """An own certificate with its key, and the authorities that others' are checked by.

    `prefix` is what the variables that name them begin with, `ca_name` how that of the authorities
    goes on.
    """

    prefix: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca_name: str = "CA_FILE"

    @property
    def any(self) -> bool:
        """Whether any of them is set."""
        return bool(self.ca or self.certificate or self.key)

    def context(self) -> ssl.SSLContext:
        """What a server is checked by, the system's authorities unless others are set.

        Raises:
            OSError: a file cannot be read, or is none of its kind (ssl.SSLError).
            ValueError: the key is encrypted.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key, _no_password)
        return context

    def check(self) -> None:
        """Raises OSError or ValueError, as `context`, if they cannot be used."""
        if self.any:
            self.context()

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Another one whenever a file was replaced or written to."""
        return tuple(map(_stamp, (self.ca, self.certificate, self.key)))

    def problems(self) -> Iterator[str]:
        """What is wrong with them, a line each."""
        ca, certificate, key = (
            self.prefix + name for name in (self.ca_name, "CERTIFICATE_FILE", "KEY_FILE")
        )
        if bool(self.certificate) != bool(self.key):
            missing, other = (key, certificate) if self.certificate else (certificate, key)
            yield f"{missing}: is required with {other}"
            return
        files = {ca: self.ca, certificate: self.certificate, key: self.key}
        broken = list(unreadable(files))
        if broken:
            yield from broken
            return
        if self.ca:
            try:
                ssl.create_default_context(cafile=self.ca)
            except OSError:
                yield f"{ca}: holds no certificate"
                return
        try:
            self.check()
        except ssl.SSLError as error:
            yield f"{certificate}: does not match {key}: {error.reason or 'one is no PEM file'}"
        except (OSError, ValueError) as error:
            yield f"{certificate}: does not match {key}: {error}"


def unreadable(files: Mapping[str, Path | None]) -> Iterator[str]:
    """A line for each variable that names a file which cannot be read."""
    for variable, path in files.items():
        if path is None:
            continue
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            yield f"{variable}: {path} cannot be read: {error.strerror}"


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def _no_password() -> str:
    # Without it, the library would ask whoever sits at the terminal.
    raise ValueError("the key is encrypted")
