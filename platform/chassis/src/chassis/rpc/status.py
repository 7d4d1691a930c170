"""Conversion of domain errors to google.rpc.Status and back."""

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

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

__all__ = ["from_rpc_error", "to_code", "to_detail", "to_metadata"]

_DETAILS = "grpc-status-details-bin"
# gRPC retries calls whose connection broke. It must not retry calls that were answered, because
# retries in each layer would multiply the load on a service that is already overloaded.
_DO_NOT_RETRY = ("grpc-retry-pushback-ms", "-1")

_LONGEST = 300

_KINDS: dict[grpc.StatusCode, type[DomainError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # A server that is stopping cancels calls that reach it at that moment.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def to_code(error: DomainError) -> grpc.StatusCode:
    """Return the gRPC code of a domain error."""
    return grpc.StatusCode[error.grpc_code]


def to_detail(error: DomainError) -> str:
    """Return the text of a domain error, shortened to fit into the trailing metadata."""
    return _shorten(error.detail)


def _shorten(text: str) -> str:
    # Trailing metadata has at most 8 KiB and contains the detail up to three times, in UTF-8 and
    # percent-encoded. Without this limit an error that quotes a long request could not be sent.
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def to_metadata(error: DomainError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata with the google.rpc.Status of a domain error."""
    status = Status(code=to_code(error).value[0], message=to_detail(error))
    if error.field is not None:
        violation = BadRequest.FieldViolation(
            field=_shorten(error.field), description=to_detail(error)
        )
        status.details.append(_pack(BadRequest(field_violations=[violation])))
    if not isinstance(error, Unavailable):
        return ((_DETAILS, status.SerializeToString()),)
    delay = Duration()
    delay.FromMilliseconds(int(error.retry_after * 1000))
    status.details.append(_pack(RetryInfo(retry_delay=delay)))
    return ((_DETAILS, status.SerializeToString()), _DO_NOT_RETRY)


def from_rpc_error(error: grpc.aio.AioRpcError, service: str) -> DomainError | None:
    """Return the domain error that a called service answered with, None if it was another error.

    Errors of the connection (unreachable, no answer in time) become Unavailable or
    DeadlineExceeded, with a text that names the service but not its address.
    """
    kind = _KINDS.get(error.code())
    if kind is None:
        return None
    status = _status(error)
    if status is None and kind in (Unavailable, Overloaded):
        return Unavailable(f"{service} is unavailable")
    if status is None and kind is DeadlineExceeded:
        return DeadlineExceeded(f"{service} did not answer in time")
    field, retry_after = None, 1.0
    for packed in status.details if status is not None else ():
        bad, retry = BadRequest(), RetryInfo()
        if packed.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif packed.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    detail = error.details() or kind.title
    if issubclass(kind, Unavailable):
        return kind(detail, field=field, retry_after=retry_after)
    return kind(detail, field=field)


def _status(error: grpc.aio.AioRpcError) -> Status | None:
    """Return the rich status (google.rpc.Status) of an error, if the server sent a valid one."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            try:
                return Status.FromString(value if isinstance(value, bytes) else value.encode())
            except DecodeError:
                return None
    return None


def _pack(message: BadRequest | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
