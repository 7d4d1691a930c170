"""The run-time library of a Slipway service."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chassis.database import ReadTransaction, Transaction
    from chassis.errors import (
        AlreadyExists,
        DeadlineExceeded,
        DomainError,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        Unavailable,
    )
    from chassis.events.context import EventContext
    from chassis.events.handlers import Reject, Transact
    from chassis.events.router import EventRouter
    from chassis.service import Service
    from chassis.settings import ServiceSettings

__all__ = [
    "AlreadyExists",
    "DeadlineExceeded",
    "DomainError",
    "EventContext",
    "EventRouter",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "ReadTransaction",
    "Reject",
    "Service",
    "ServiceSettings",
    "Transact",
    "Transaction",
    "Unavailable",
]

# Imported when first used: reading a service's settings must not cost gRPC, FastAPI and SQLAlchemy.
_HOMES = {
    "AlreadyExists": "chassis.errors",
    "DeadlineExceeded": "chassis.errors",
    "DomainError": "chassis.errors",
    "EventContext": "chassis.events.context",
    "EventRouter": "chassis.events.router",
    "FailedPrecondition": "chassis.errors",
    "InvalidArgument": "chassis.errors",
    "NotFound": "chassis.errors",
    "PermissionDenied": "chassis.errors",
    "ReadTransaction": "chassis.database",
    "Reject": "chassis.events.handlers",
    "Service": "chassis.service",
    "ServiceSettings": "chassis.settings",
    "Transact": "chassis.events.handlers",
    "Transaction": "chassis.database",
    "Unavailable": "chassis.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'chassis' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
