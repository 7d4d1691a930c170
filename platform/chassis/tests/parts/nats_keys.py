"""Keys and tokens of a NATS server's operator, accounts and users, made as its tools make them."""

import base64
import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import Any

import nkeys  # type: ignore[import-untyped]

__all__ = ["Key", "Operator", "user_key"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair by its seed."""

    seed: bytes

    @property
    def public(self) -> str:
        return str(self._pair().public_key.decode())

    def sign(self, text: str) -> bytes:
        return bytes(self._pair().sign(text.encode()))

    def _pair(self) -> Any:
        return nkeys.from_seed(bytearray(self.seed))


def user_key() -> Key:
    return _key(nkeys.PREFIX_BYTE_USER)


def _key(kind: int) -> Key:
    return Key(bytes(nkeys.encode_seed(os.urandom(32), kind)))


class Operator:
    """An operator with one account that may use JetStream."""

    def __init__(self) -> None:
        self._key = _key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = _key(nkeys.PREFIX_BYTE_ACCOUNT)
        system = _key(nkeys.PREFIX_BYTE_ACCOUNT)
        limits = {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1,
            "leaf": -1, "wildcards": True, "mem_storage": -1, "disk_storage": -1, "streams": -1,
            "consumer": -1,
        }  # fmt: skip
        of_operator = _token(self._key, self._key, {"type": "operator", "version": 2})
        nats = {"type": "account", "version": 2}
        of_account = _token(self._key, self._account, nats | {"limits": limits})
        self.config = (
            f"operator: {of_operator}\n"
            f"system_account: {system.public}\n"
            "resolver: MEMORY\n"
            "resolver_preload: {\n"
            f"  {self._account.public}: {of_account}\n"
            f"  {system.public}: {_token(self._key, system, nats)}\n"
            "}\n"
        )

    def credentials(self) -> str:
        """The .creds file of a new user of the account."""
        user = user_key()
        everything = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        jwt = _token(self._account, user, {"type": "user", "version": 2} | everything)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n"
            "------END USER NKEY SEED------\n"
        )


def _token(issuer: Key, subject: Key, nats: dict[str, Any]) -> str:
    claims = {
        "iat": int(time.time()), "iss": issuer.public, "sub": subject.public,
        "name": "test", "nats": nats,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(claims)}"
    return f"{text}.{_base64(issuer.sign(text))}"


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
