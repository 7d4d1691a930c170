"""What an operator has changed by a verb: told to the members that run, and logged by all."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Self

import structlog

__all__ = ["OperatorChange"]

_log = structlog.get_logger(__name__)
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """`verb` as it was typed, `who` did it, `what` was to be done, and how much was `changed`."""

    verb: str
    who: str
    what: str
    changed: int

    def log(self) -> None:
        """One line, whoever says it."""
        _log.info("operator changed data", **asdict(self))

    def to_json(self) -> bytes:
        """As it goes over the broker."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self | None:
        """What came over the broker; None for what no verb has sent."""
        try:
            said = json.loads(data)
            known = {field.name: said[field.name] for field in fields(cls)}
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        changed = known.pop("changed")
        if type(changed) is not int or any(not isinstance(text, str) for text in known.values()):
            return None
        return cls(**{name: text[:_LONGEST] for name, text in known.items()}, changed=changed)
