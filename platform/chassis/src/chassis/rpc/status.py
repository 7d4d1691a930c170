"""Domain errors as google.rpc.Status, and back."""

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
# Clients repeat a call whose connection broke. One that was answered is for the caller to judge:
# every layer repeating by itself would multiply the load on what is away already.
_DO_NOT_REPEAT = ("grpc-retry-pushback-ms", "-1")

_LONGEST = 300

_KINDS: dict[grpc.StatusCode, type[DomainError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # By a server that stops, for a call that reached it in that moment.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def to_code(error: DomainError) -> grpc.StatusCode:
    """The gRPC code of a domain error."""
    return grpc.StatusCode[error.grpc_code]


def to_detail(error: DomainError) -> str:
    """The text of a domain error, cut where it would not fit into the trailing metadata."""
    return _cut(error.detail)


def _cut(text: str) -> str:
    # Trailing metadata may have 8 KiB, in which the detail stands up to three times, in UTF-8 and
    # percent-encoded: an error that quotes its request must not fail by its own length.
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def to_metadata(error: DomainError) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that carries a domain error's google.rpc.Status."""
    status = Status(code=to_code(error).value[0], message=to_detail(error))
    if error.field is not None:
        violation = BadRequest.FieldViolation(field=_cut(error.field), description=to_detail(error))
        status.details.append(_packed(BadRequest(field_violations=[violation])))
    if not isinstance(error, Unavailable):
        return ((_DETAILS, status.SerializeToString()),)
    delay = Duration()
    delay.FromMilliseconds(int(error.retry_after * 1000))
    status.details.append(_packed(RetryInfo(retry_delay=delay)))
    return ((_DETAILS, status.SerializeToString()), _DO_NOT_REPEAT)


def from_rpc_error(error: grpc.aio.AioRpcError, service: str) -> DomainError | None:
    """The domain error that the service called answered with, None if it was none.

    What the connection says by itself (nobody there, no answer in time) is Unavailable or
    DeadlineExceeded, in words that name the service and nothing of its address.
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
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            try:
                return Status.FromString(value if isinstance(value, bytes) else value.encode())
            except DecodeError:
                return None
    return None


def _packed(message: BadRequest | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
