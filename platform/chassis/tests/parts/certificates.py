"""Files with certificates of an authority that a test creates."""

from dataclasses import dataclass
from pathlib import Path

import trustme

__all__ = ["Authority", "Pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """An authority that writes certificates into a folder; `ca` is its own certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, into: str = "") -> Pair:
        """Write a certificate for a host name or address; one with the same `into` is replaced."""
        pair = Pair(
            self._folder / f"{into or name}-cert.pem", self._folder / f"{into or name}-key.pem"
        )
        issued = self._authority.issue_cert(name)
        issued.private_key_pem.write_to_path(str(pair.key))
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return pair
