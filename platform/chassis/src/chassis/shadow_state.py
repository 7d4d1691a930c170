"""The state that a service adds to its shadow, because no event of another service brings it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Select, Table

    from chassis.events.handlers.router import EventRouter

__all__ = ["Shadow"]


@dataclass(frozen=True, slots=True)
class Shadow:
    """The state that a shadow of the service needs besides what its event handlers write.

    A shadow replays recorded events on a scratch database, which begins empty. Before the first
    event, rows are copied from the service's database into the tables that are the keys of
    `copies`: what the statement selects, by the names of the columns, or all rows if it is None.
    `restores` are routers with `def` handlers of events that the service itself publishes: each
    stores what the RPC stored that published the event. They run in shadows only.
    """

    restores: "Sequence[EventRouter]" = ()
    copies: "Mapping[Table, Select[Any] | None]" = field(default_factory=dict)
