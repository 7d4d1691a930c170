"""The events that a handler would have published, as JSON without what differs by its nature."""

import json
from collections.abc import Sequence
from datetime import datetime

from google.protobuf import json_format
from google.protobuf.message import Message

from chassis.database.outbox_rows import OutboxRow
from chassis.events.wire.contracts import event_type
from chassis.events.wire.decoding import decode
from chassis.events.wire.event_data import from_data
from chassis.shadow.masks import Masks

__all__ = ["Published"]


class Published:
    """The types of event that a service publishes, and how their events are shown."""

    def __init__(self, publishes: Sequence[type[Message]], masks: Masks) -> None:
        self._types = {event_type(message): message for message in publishes}
        self._masks = masks

    def shown(self, rows: Sequence[OutboxRow], origin: str, at: datetime) -> list[object]:
        """Return type, key and data of the events in these rows of an outbox.

        Fields without a value are left out, so that a version with a new field does not differ.
        """
        return [
            self._masks.masked(self._event(row, f"event {number} of {origin}"), origin, at)
            for number, row in enumerate(rows, 1)
        ]

    def _event(self, row: OutboxRow, name: str) -> dict[str, object]:
        received = decode(json.loads(row.headers), row.data)
        context = received.context
        self._masks.name(context.id, name)
        message = from_data(self._types[context.type], received.datacontenttype, received.data)
        shown = json_format.MessageToDict(message, preserving_proto_field_name=True)
        return {"type": context.type, "key": context.partition_key or "", "data": shown}
