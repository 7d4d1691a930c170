"""JSON payloads of structured mode, and the object among their members that is the data."""

import json
from typing import Any, NamedTuple, NoReturn

import orjson

from chassis.events.wire.attributes import Undecodable

__all__ = ["JsonData", "data_bytes", "parse_object"]

# Values that were read from JSON cannot contain themselves, so they are not searched for that.
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False)


class JsonData(NamedTuple):
    """Data that were read with the payload that they are part of, so that they are read once.

    `bytes()` gives them as JSON; it raises ValueError or RecursionError if they have no JSON.
    """

    payload: bytes
    event: dict[str, Any]
    """The payload's members; `data` is among them, an object, until it is taken."""

    def take(self) -> Any:
        """Return the object, which the caller may change."""
        value = self.event.pop("data", None)
        return parse_object(self.payload)["data"] if value is None else value

    def __bytes__(self) -> bytes:
        return data_bytes(parse_object(self.payload)["data"])


def data_bytes(value: object) -> bytes:
    """Return a value of JSON as text in UTF-8.

    Raises:
        ValueError, RecursionError: it has no JSON.
    """
    return _encoder.encode(value).encode()


def parse_object(payload: bytes) -> dict[str, Any]:
    """Return the JSON object of a payload, whose integers of more than 64 bits become floats.

    Raises:
        Undecodable: the payload is not a JSON object.
    """
    try:
        parsed = orjson.loads(payload)
    except ValueError:
        # The slower parser names what is wrong, and reads a few texts that the other refuses.
        try:
            parsed = json.loads(payload.decode("utf-8-sig"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"the payload is not valid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise Undecodable("the payload is not a JSON object")
    return parsed


def _refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON forbids."""
    raise ValueError(f"{text} is not a number")
