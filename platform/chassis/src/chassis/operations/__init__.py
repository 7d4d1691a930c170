"""What an operator does to a service's events: plain functions on a database session, and the
command line upon them (`python -m <service> dead-letters …`, `events …`, `outbox …`)."""

from typing import TYPE_CHECKING

from chassis._lazy import lazily

if TYPE_CHECKING:
    from chassis.operations.dead_letters import (
        DeadLetter,
        DeadLetterFilter,
        DeadLetterGroup,
        drop_dead_letters,
        list_dead_letters,
        redrive_dead_letters,
        summarize_dead_letters,
    )
    from chassis.operations.outbox import OutboxStatus, outbox_status

__all__ = [
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterGroup",
    "OutboxStatus",
    "drop_dead_letters",
    "list_dead_letters",
    "outbox_status",
    "redrive_dead_letters",
    "summarize_dead_letters",
]

# Imported when first used: a service that only runs needs none of it.
_HOMES = {
    "DeadLetter": "chassis.operations.dead_letters",
    "DeadLetterFilter": "chassis.operations.dead_letters",
    "DeadLetterGroup": "chassis.operations.dead_letters",
    "OutboxStatus": "chassis.operations.outbox",
    "drop_dead_letters": "chassis.operations.dead_letters",
    "list_dead_letters": "chassis.operations.dead_letters",
    "outbox_status": "chassis.operations.outbox",
    "redrive_dead_letters": "chassis.operations.dead_letters",
    "summarize_dead_letters": "chassis.operations.dead_letters",
}

__getattr__ = lazily(__name__, _HOMES)
