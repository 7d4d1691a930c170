"""The run-time library of a Slipway service."""

from typing import TYPE_CHECKING

from chassis._lazy import lazy_getattr

if TYPE_CHECKING:
    from chassis._commands import run
    from chassis.database import ReadTransaction, Transaction
    from chassis.errors import (
        AlreadyExists,
        DeadlineExceeded,
        DomainError,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        Overloaded,
        PermissionDenied,
        Unavailable,
    )
    from chassis.events.handlers.binding import Transact
    from chassis.events.handlers.failures import Reject
    from chassis.events.handlers.router import EventRouter
    from chassis.events.wire.context import EventContext
    from chassis.service import Service
    from chassis.settings import ServiceSettings
    from chassis.shadow_state import Shadow

__all__ = [
    "AlreadyExists",
    "DeadlineExceeded",
    "DomainError",
    "EventContext",
    "EventRouter",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "ReadTransaction",
    "Reject",
    "Service",
    "ServiceSettings",
    "Shadow",
    "Transact",
    "Transaction",
    "Unavailable",
    "run",
]

# The names are imported when first used, because reading a service's settings must not import gRPC,
# FastAPI and SQLAlchemy.
_HOMES = {
    "AlreadyExists": "chassis.errors",
    "DeadlineExceeded": "chassis.errors",
    "DomainError": "chassis.errors",
    "EventContext": "chassis.events.wire.context",
    "EventRouter": "chassis.events.handlers.router",
    "FailedPrecondition": "chassis.errors",
    "InvalidArgument": "chassis.errors",
    "NotFound": "chassis.errors",
    "Overloaded": "chassis.errors",
    "PermissionDenied": "chassis.errors",
    "ReadTransaction": "chassis.database",
    "Reject": "chassis.events.handlers.failures",
    "Service": "chassis.service",
    "ServiceSettings": "chassis.settings",
    "Shadow": "chassis.shadow_state",
    "Transact": "chassis.events.handlers.binding",
    "Transaction": "chassis.database",
    "Unavailable": "chassis.errors",
    "run": "chassis._commands",
}


__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
