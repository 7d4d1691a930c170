"""Parses the header blocks of messages: each event has one, and the library's parser is slow."""

from functools import lru_cache

from nats.aio.client import Client

__all__ = ["parse_header_block"]

# What bytes.strip() removes; str.strip() would remove other spaces too.
_SPACE = " \t\n\r\v\f"


def parse_header_block(raw: bytes) -> dict[str, str]:
    """Return the headers of a block, as the NATS library reads them.

    Lines end with CRLF. A line without a colon or with a name that is no token is ignored, and the
    last of several values counts. The library parses each block that has an unusual name.

    Source: NATS ADR-4, "NATS Message Headers".
    """
    headers = {}
    for line in raw.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            if not _is_token(name):
                unusual: dict[str, str] = Client._parse_header_lines(raw)  # noqa: SLF001
                return unusual
            headers[name] = value.strip(_SPACE)
    return headers


@lru_cache(1024)
def _is_token(name: str) -> bool:
    return name.isascii() and name.isprintable() and " " not in name
