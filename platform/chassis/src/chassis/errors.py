"""Errors of the domain: raised once, answered in the words of each protocol.

Over gRPC they become a google.rpc.Status, over HTTP problem+json (RFC 9457). Their detail reaches
the caller, so it says what is wrong with the request and what to do, and nothing of the inside.
Any other exception is answered as an internal error without its text.
"""

import sys
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "DeadlineExceeded",
    "DomainError",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Unavailable",
    "is_unavailable",
]


class DomainError(Exception):
    """A request that cannot be fulfilled, for a reason its caller may know.

    `field` names the part of the request that is at fault, as the caller wrote it.
    """

    grpc_code: ClassVar[str] = "FAILED_PRECONDITION"
    """The name of the google.rpc.Code."""
    http_status: ClassVar[int] = 409
    title: ClassVar[str] = "Conflict"
    """The kind of problem, the same for each occurrence."""

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class InvalidArgument(DomainError):
    """The request is wrong whatever the state of the system."""

    grpc_code = "INVALID_ARGUMENT"
    http_status = 422
    title = "Invalid request"


class NotFound(DomainError):
    """What the request names does not exist."""

    grpc_code = "NOT_FOUND"
    http_status = 404
    title = "Not found"


class AlreadyExists(DomainError):
    """What the request would create is there already."""

    grpc_code = "ALREADY_EXISTS"
    title = "Already exists"


class FailedPrecondition(DomainError):
    """The request does not fit the present state."""

    title = "Conflict with the present state"


class PermissionDenied(DomainError):
    """The caller may not do this."""

    grpc_code = "PERMISSION_DENIED"
    http_status = 403
    title = "Permission denied"


class Unavailable(DomainError):
    """Something the request needs is away or overloaded; the same request may succeed later.

    `retry_after` is how many seconds the caller should wait.
    """

    grpc_code = "UNAVAILABLE"
    http_status = 503
    title = "Service unavailable"

    def __init__(self, detail: str, *, field: str | None = None, retry_after: float = 1) -> None:
        super().__init__(detail, field=field)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """More is asked than can be answered at once. It had no effect; the same may succeed later."""

    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many requests at once"


class DeadlineExceeded(Unavailable):
    """Something the request needs did not answer in time; it may or may not have taken effect."""

    grpc_code = "DEADLINE_EXCEEDED"
    http_status = 504
    title = "Timed out"


def is_unavailable(error: BaseException) -> bool:
    """Whether something that was asked is away for now, be it said by us or by a gRPC client."""
    if isinstance(error, Unavailable):
        return True
    grpc = sys.modules.get("grpc")  # who has not imported it raises none of its errors
    if grpc is None or not isinstance(error, grpc.RpcError):
        return False
    code = getattr(error, "code", None)
    return callable(code) and code() is grpc.StatusCode.UNAVAILABLE
