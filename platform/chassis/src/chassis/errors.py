"""Errors of the domain, which each protocol answers in its own form.

Over gRPC they become a google.rpc.Status, over HTTP problem+json (RFC 9457). The caller receives
the detail: it says what is wrong with the request and what to do, but nothing about internals. Any
other exception is answered as an internal error without its text.
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
    """The failure of a request for a reason that its caller may know.

    `field` is the path of the invalid part in the request.
    """

    grpc_code: ClassVar[str] = "FAILED_PRECONDITION"
    """The name of the google.rpc.Code."""
    http_status: ClassVar[int] = 409
    title: ClassVar[str] = "Conflict"
    """The summary of this kind of problem, the same for each occurrence."""

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class InvalidArgument(DomainError):
    """The request is invalid, regardless of the system's state."""

    grpc_code = "INVALID_ARGUMENT"
    http_status = 422
    title = "Invalid request"


class NotFound(DomainError):
    """Something that the request names does not exist."""

    grpc_code = "NOT_FOUND"
    http_status = 404
    title = "Not found"


class AlreadyExists(DomainError):
    """Something that the request would create exists already."""

    grpc_code = "ALREADY_EXISTS"
    title = "Already exists"


class FailedPrecondition(DomainError):
    """The system's state does not allow the request."""

    title = "Conflict with the present state"


class PermissionDenied(DomainError):
    """The caller may not do this."""

    grpc_code = "PERMISSION_DENIED"
    http_status = 403
    title = "Permission denied"


class Unavailable(DomainError):
    """Something that the request needs is unavailable; the same request may succeed later.

    The caller should wait for `retry_after` seconds.
    """

    grpc_code = "UNAVAILABLE"
    http_status = 503
    title = "Service unavailable"

    def __init__(self, detail: str, *, field: str | None = None, retry_after: float = 1) -> None:
        super().__init__(detail, field=field)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """The service has too many requests. This one had no effect and may succeed later."""

    grpc_code = "RESOURCE_EXHAUSTED"
    title = "Too many requests at once"


class DeadlineExceeded(Unavailable):
    """Something that the request needs timed out; the request may have had an effect."""

    grpc_code = "DEADLINE_EXCEEDED"
    http_status = 504
    title = "Timed out"


def is_unavailable(error: BaseException) -> bool:
    """Return whether the error is Unavailable, or a gRPC client's error with that code."""
    if isinstance(error, Unavailable):
        return True
    # gRPC is not imported for this: without it, no error of gRPC can have been raised.
    grpc = sys.modules.get("grpc")
    if grpc is None or not isinstance(error, grpc.RpcError):
        return False
    code = getattr(error, "code", None)
    return callable(code) and code() is grpc.StatusCode.UNAVAILABLE
