"""An operator's change, as the running members hear of it and log it."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Self

import structlog

__all__ = ["OperatorChange"]

_log = structlog.get_logger(__name__)
_MAX_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """The `verb` as typed, `who` ran it, on `what`, and how many rows it has `changed`."""

    verb: str
    who: str
    what: str
    changed: int

    def log(self) -> None:
        """Log the change, in the same words for the command and for each member."""
        _log.info("operator changed data", **asdict(self))

    def to_json(self) -> bytes:
        """Return the change as a message's payload."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self | None:
        """Return the change in a message's payload; None if the payload is not valid."""
        try:
            given = json.loads(data)
            values = {field.name: given[field.name] for field in fields(cls)}
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        changed = values.pop("changed")
        if type(changed) is not int or any(not isinstance(text, str) for text in values.values()):
            return None
        return cls(
            **{name: text[:_MAX_CHARACTERS] for name, text in values.items()}, changed=changed
        )
