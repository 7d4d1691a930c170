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
from chassis.database.faults import away
from chassis.errors import DomainError, Unavailable

__all__ = ["answer", "install", "internal_error", "problem", "too_large", "too_slow"]

MEDIA_TYPE = "application/problem+json"
# A caller may name as many unknown fields, and as long ones, as fit into a body.
_MOST_ERRORS = 20
_LONGEST_FIELD = 200


def problem(
    status: int,
    title: str,
    detail: str | None = None,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    trace_id: str | None = None,
) -> Response:
    """A problem. `errors` are {field, detail}, one for each part of the request at fault."""
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status}
    if detail is not None:
        body["detail"] = detail
    if errors:
        body["errors"] = list(errors)
    if trace_id is not None:
        body["trace_id"] = trace_id
    return Response(json.dumps(body), status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error that is known with a problem."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(DatabaseDown, _database_away)
    app.add_exception_handler(ConnectionLost, _database_away)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


def internal_error(error: Exception) -> Response:
    """What a caller may know of an error that nobody foresaw: that it was the database's, if so."""
    if away(error) is not None:
        return answer(Unavailable("the database is away"))
    context = trace.get_current_span().get_span_context()
    trace_id = f"{context.trace_id:032x}" if context.is_valid else None
    return problem(500, "Internal error", trace_id=trace_id)


def too_large(limit: int) -> HTTPException:
    """The body is larger than `limit` bytes."""
    return HTTPException(413, f"the body is larger than {limit} bytes")


def too_slow(seconds: float) -> HTTPException:
    """The body has not come within so many seconds."""
    detail = f"the body took longer than {seconds:g} s to come"
    return HTTPException(408, detail, headers={"connection": "close"})


def answer(error: DomainError) -> Response:
    """A domain error, as its caller gets it."""
    errors = [] if error.field is None else [{"field": error.field, "detail": error.detail}]
    headers = {}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, ceil(error.retry_after)))
    return problem(error.http_status, error.title, error.detail, errors=errors, headers=headers)


async def _domain_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return answer(error)


async def _database_away(_: Request, __: Exception) -> Response:
    return answer(Unavailable("the database is away"))


async def _invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if error.body and isinstance(error.body, bytes):
        # FastAPI hands on unread what is not called JSON.
        return problem(415, "Unsupported Media Type", "Content-Type must be application/json")
    found = error.errors()
    errors = [{"field": _field(e), "detail": str(e["msg"])} for e in found[:_MOST_ERRORS]]
    said = [f"{e['field']}: {e['detail']}" for e in errors]
    if len(found) > len(errors):
        said.append(f"and {len(found) - len(errors)} more")
    return problem(422, "Invalid request", "; ".join(said), errors=errors)


def _field(error: Mapping[str, Any]) -> str:
    """The path of the field in its caller's words: lines.0.quantity."""
    place, *path = error["loc"]
    if error["type"] == "json_invalid" or not path:
        return str(place)
    return ".".join(str(part) for part in path)[:_LONGEST_FIELD]


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400 and isinstance(error.__cause__, (ValueError, RecursionError)):
        # FastAPI tells a body that is no JSON from one that is no text, or nested too deeply.
        errors = [{"field": "body", "detail": "JSON decode error"}]
        return problem(422, "Invalid request", "body: JSON decode error", errors=errors)
    title = HTTPStatus(error.status_code).phrase
    detail = None if error.detail == title else str(error.detail)
    return problem(error.status_code, title, detail, headers=error.headers)
