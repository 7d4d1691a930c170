"""Errors as problem+json (RFC 9457)."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from chassis.database import ConnectionLost, DatabaseDown
from chassis.database.faults import database_failure
from chassis.errors import DomainError, Unavailable

__all__ = ["answer", "install", "internal_error", "problem", "too_large", "too_slow"]

MEDIA_TYPE = "application/problem+json"
# Problems have limits, because a body can name any number of unknown fields, of any length.
_MAX_ERRORS = 20
_MAX_FIELD_LENGTH = 200


def problem(
    status: int,
    title: str,
    detail: str | None = None,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    trace_id: str | None = None,
) -> Response:
    """Return a problem. `errors` are {field, detail}, one for each invalid part of the request."""
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status}
    if detail is not None:
        body["detail"] = detail
    if errors:
        body["errors"] = list(errors)
    if trace_id is not None:
        body["trace_id"] = trace_id
    return Response(json.dumps(body), status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make `app` answer every expected error with a problem."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(DatabaseDown, _database_unavailable)
    app.add_exception_handler(ConnectionLost, _database_unavailable)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


def internal_error(error: Exception) -> Response:
    """Return the response to an unexpected error: 503 if the database was unavailable, else 500."""
    if database_failure(error) is not None:
        return answer(Unavailable("the database is unavailable"))
    context = trace.get_current_span().get_span_context()
    trace_id = f"{context.trace_id:032x}" if context.is_valid else None
    return problem(500, "Internal error", trace_id=trace_id)


def too_large(limit: int) -> HTTPException:
    """Return the error for a body of more than `limit` bytes."""
    return HTTPException(413, f"the body is larger than {limit} bytes")


def too_slow(seconds: float) -> HTTPException:
    """Return the error for a body that was not received within `seconds`."""
    detail = f"the body took longer than {seconds:g} s to come"
    return HTTPException(408, detail, headers={"connection": "close"})


def answer(error: DomainError) -> Response:
    """Return the response to a domain error."""
    errors = [] if error.field is None else [{"field": error.field, "detail": error.detail}]
    headers = {}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, ceil(error.retry_after)))
    return problem(error.http_status, error.title, error.detail, errors=errors, headers=headers)


async def _domain_error(_: Request, error: Exception) -> Response:
    """Answer an error that the service raised on purpose."""
    assert isinstance(error, DomainError)
    return answer(error)


async def _database_unavailable(_: Request, __: Exception) -> Response:
    """Answer 503 while the database is unavailable."""
    return answer(Unavailable("the database is unavailable"))


async def _invalid_request(_: Request, error: Exception) -> Response:
    """Answer a request that does not match the route's parameters and body."""
    assert isinstance(error, RequestValidationError)
    if error.body and isinstance(error.body, bytes):
        # FastAPI hands on an unparsed body if its Content-Type is not JSON.
        return problem(415, "Unsupported Media Type", "Content-Type must be application/json")
    found = error.errors()
    errors = [{"field": _field_path(e), "detail": str(e["msg"])} for e in found[:_MAX_ERRORS]]
    details = [f"{e['field']}: {e['detail']}" for e in errors]
    if len(found) > len(errors):
        details.append(f"and {len(found) - len(errors)} more")
    return problem(422, "Invalid request", "; ".join(details), errors=errors)


def _field_path(error: Mapping[str, Any]) -> str:
    """Return the path of the field in the request: lines.0.quantity."""
    place, *path = error["loc"]
    if error["type"] == "json_invalid" or not path:
        return str(place)
    return ".".join(str(part) for part in path)[:_MAX_FIELD_LENGTH]


async def _http_error(_: Request, error: Exception) -> Response:
    """Answer an error that FastAPI or Starlette raised."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400 and isinstance(error.__cause__, (ValueError, RecursionError)):
        # FastAPI raises 400 for a body that is not UTF-8 or is nested too deeply, but reports other
        # invalid JSON as a field. The response is the same for both.
        errors = [{"field": "body", "detail": "JSON decode error"}]
        return problem(422, "Invalid request", "body: JSON decode error", errors=errors)
    title = HTTPStatus(error.status_code).phrase
    detail = None if error.detail == title else str(error.detail)
    return problem(error.status_code, title, detail, headers=error.headers)
