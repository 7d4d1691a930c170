"""Parses the header blocks of messages: each event has one, and the library's parser is slow."""

from functools import lru_cache

from nats.aio.client import Client

__all__ = ["parse_header_block"]

# The spaces that bytes.strip() removes; str.strip() would remove other spaces too.
_SPACE = " \t\n\r\v\f"


def parse_header_block(raw: bytes) -> dict[str, str]:
    """Return the headers of a block, as the NATS library reads them.

    Lines end with CRLF. A line is ignored if it has no colon, or if its name has spaces or is not
    ASCII; the last of several values counts. The library parses each block with an unusual name.

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
