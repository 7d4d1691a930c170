"""Certificates and keys in PEM files that settings name."""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Certificates", "unreadable"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of a certificate with its key, and of the authorities that verify the other side.

    `prefix` is the prefix of the variables that name the files, `ca_name` the rest of the name of
    the authorities' variable.
    """

    prefix: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca_name: str = "CA_FILE"

    @property
    def any(self) -> bool:
        """Whether any of the files is set."""
        return bool(self.ca or self.certificate or self.key)

    def context(self) -> ssl.SSLContext:
        """Return a client's TLS context; it trusts the system's authorities unless `ca` is set.

        Raises:
            OSError: a file cannot be read, or its content is invalid (ssl.SSLError).
            ValueError: the key is encrypted.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key, _no_password)
        return context

    def check(self) -> None:
        """Raise OSError or ValueError, as `context` does, if a file cannot be used."""
        if self.any:
            self.context()

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return a value that changes whenever a file is replaced or written to."""
        return tuple(map(_file_stamp, (self.ca, self.certificate, self.key)))

    def problems(self) -> Iterator[str]:
        """Yield a line for each problem with the files."""
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
            yield f"{certificate}: does not match {key}: {error.reason or 'one is not a PEM file'}"
        except (OSError, ValueError) as error:
            yield f"{certificate}: does not match {key}: {error}"


def unreadable(files: Mapping[str, Path | None]) -> Iterator[str]:
    """Yield a line for each variable whose file cannot be read."""
    for variable, path in files.items():
        if path is None:
            continue
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            yield f"{variable}: {path} cannot be read: {error.strerror}"


def _file_stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return a value that changes with the file; None if there is no such file."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def _no_password() -> str:
    # Without this callback, OpenSSL would prompt for the password on the terminal.
    raise ValueError("the key is encrypted")
