"""An operator's view of a service's events, and the changes an operator can make.

Plain functions work on a database session; `command_line` makes commands of them (`python -m
<service> dead-letters …`, `events …`, `outbox …`).
"""

from typing import TYPE_CHECKING

from chassis._lazy import lazy_getattr

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
    from chassis.operations.events import (
        EventRows,
        SubjectLag,
        TypeStatus,
        event_rows,
        pause_types,
        resume_types,
        subject_lags,
        type_statuses,
    )
    from chassis.operations.lanes import (
        CannotMove,
        Move,
        move_positions,
        plan_skip,
        plan_start_over,
    )
    from chassis.operations.outbox import (
        OutboxStatus,
        outbox_status,
    )

__all__ = [
    "CannotMove",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterGroup",
    "EventRows",
    "Move",
    "OutboxStatus",
    "SubjectLag",
    "TypeStatus",
    "drop_dead_letters",
    "event_rows",
    "list_dead_letters",
    "move_positions",
    "outbox_status",
    "pause_types",
    "plan_skip",
    "plan_start_over",
    "redrive_dead_letters",
    "resume_types",
    "subject_lags",
    "summarize_dead_letters",
    "type_statuses",
]

# These names are imported at their first use, because a service that only runs does not need them.
_HOMES = {
    "CannotMove": "chassis.operations.lanes",
    "DeadLetter": "chassis.operations.dead_letters",
    "DeadLetterFilter": "chassis.operations.dead_letters",
    "DeadLetterGroup": "chassis.operations.dead_letters",
    "EventRows": "chassis.operations.events",
    "Move": "chassis.operations.lanes",
    "OutboxStatus": "chassis.operations.outbox",
    "SubjectLag": "chassis.operations.events",
    "TypeStatus": "chassis.operations.events",
    "drop_dead_letters": "chassis.operations.dead_letters",
    "event_rows": "chassis.operations.events",
    "list_dead_letters": "chassis.operations.dead_letters",
    "move_positions": "chassis.operations.lanes",
    "outbox_status": "chassis.operations.outbox",
    "pause_types": "chassis.operations.events",
    "plan_start_over": "chassis.operations.lanes",
    "plan_skip": "chassis.operations.lanes",
    "redrive_dead_letters": "chassis.operations.dead_letters",
    "resume_types": "chassis.operations.events",
    "subject_lags": "chassis.operations.events",
    "summarize_dead_letters": "chassis.operations.dead_letters",
    "type_statuses": "chassis.operations.events",
}

__getattr__ = lazy_getattr(__name__, _HOMES)
