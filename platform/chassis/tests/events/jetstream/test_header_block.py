"""Header blocks are parsed as the NATS library parses them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from chassis.events.jetstream.header_block import parse_header_block

pytestmark = pytest.mark.unit

_PARTS = [b"ce-id", b"Nats-Stream", b":", b": ", b"\r\n", b"\r", b"\n", b" ", b"\t", b"\x0b", b"1"]
_UNUSUAL = ["é".encode(), "\u00a0".encode(), "\u2028".encode(), b"\xff", b"\x00", b"\x1f", b""]
blocks = st.lists(st.sampled_from([*_PARTS, *_UNUSUAL]), max_size=30).map(b"".join)


def parsed_by_the_library(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = Client._parse_header_lines(block)  # noqa: SLF001
    return headers


@given(blocks)
def test_any_block_has_the_headers_that_the_library_reads(block: bytes) -> None:
    assert parse_header_block(block) == parsed_by_the_library(block)


def test_a_usual_block_is_read_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    block = b"ce-id: 1\r\nce-source:shop\r\ntraceparent: \tab \r\nce-id: 2\r\n\r\n"
    expected = parsed_by_the_library(block)
    monkeypatch.setattr(Client, "_parse_header_lines", None)
    assert (
        parse_header_block(block)
        == expected
        == {
            "ce-id": "2",
            "ce-source": "shop",
            "traceparent": "ab",
        }
    )
