"""The replay that is asked for, as arguments of the service's own commands."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """A service, the number of its last events, and what its handlers may do outside.

    `calls` are services whose RPCs may be called, `handlers` are `async def` handlers to run.
    """

    service: str
    events: int
    calls: Sequence[str] = ()
    handlers: Sequence[str] = ()

    def record(self, out: str) -> list[str]:
        """Return the arguments of the command that writes the recording."""
        return ["events", "record", "--events", str(self.events), "--out", out]

    def replay(self, recording: str) -> list[str]:
        """Return the arguments of the command that replays it."""
        arguments = ["events", "shadow", "--recording", recording]
        for name in self.calls:
            arguments += ["--allow-calls", name]
        for name in self.handlers:
            arguments += ["--allow-handler", name]
        return arguments
