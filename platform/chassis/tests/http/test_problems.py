"""Errors as problem+json: details that the caller may know, and no others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter, Query
from http_app import client_for, make_app, serving
from pydantic import BaseModel, Field
from structlog.testing import capture_logs

from chassis import (
    AlreadyExists,
    DeadlineExceeded,
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServiceSettings,
    Unavailable,
)
from chassis.database import ConnectionLost, DatabaseDown

router = APIRouter()
ERRORS: dict[str, Exception] = {
    "invalid": InvalidArgument("not a price", field="lines.0.price"),
    "missing": NotFound("no such book"),
    "there": AlreadyExists("is there"),
    "sold": FailedPrecondition("was sold"),
    "closed": PermissionDenied("not yours"),
    "unavailable": Unavailable("stock-taking", retry_after=6.2),
    "slow": DeadlineExceeded("the printer is slow"),
    "database": DatabaseDown("connection to s3cret refused"),
    "connection": ConnectionLost("connection to s3cret lost"),
    "unknown": RuntimeError("s3cret"),
    "wrapped": RuntimeError("s3cret"),
}


class Line(BaseModel):
    sku: str
    quantity: int = Field(ge=1)


class Order(BaseModel):
    lines: list[Line]


ERRORS["wrapped"].__cause__ = ERRORS["database"]


@router.get("/errors/{name}")
async def fail(name: str) -> None:
    raise ERRORS[name]


@router.post("/orders")
async def order(order: Order) -> dict[str, int]:
    return {"lines": len(order.lines)}


class Strict(BaseModel, extra="forbid"):
    pass


@router.post("/strict")
async def strict(body: Strict) -> None:
    pass


@router.get("/books")
async def books(limit: Annotated[int, Query(le=100)]) -> int:
    return limit


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(
        make_app(router, settings=ServiceSettings(request_max_bytes=1000))
    ) as client:
        yield client


def problem_of(answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == "about:blank"
    assert problem["title"]
    return problem


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("invalid", 422),
        ("missing", 404),
        ("there", 409),
        ("sold", 409),
        ("closed", 403),
        ("unavailable", 503),
        ("slow", 504),
    ],
)
async def test_a_domain_error_is_a_problem_with_its_detail(
    http: httpx.AsyncClient, name: str, status: int
) -> None:
    answer = await http.get(f"/errors/{name}")
    assert answer.status_code == status
    error = ERRORS[name]
    assert isinstance(error, DomainError)
    assert problem_of(answer)["detail"] == error.detail
    assert problem_of(answer)["title"] == error.title


async def test_a_domain_error_names_the_invalid_field(http: httpx.AsyncClient) -> None:
    problem = problem_of(await http.get("/errors/invalid"))
    assert problem["errors"] == [{"field": "lines.0.price", "detail": "not a price"}]


async def test_an_unavailable_answer_has_retry_after(http: httpx.AsyncClient) -> None:
    assert (await http.get("/errors/unavailable")).headers["retry-after"] == "7"


@pytest.mark.parametrize("name", ["database", "connection", "wrapped"])
async def test_without_the_database_the_answer_is_503_with_retry_after(
    http: httpx.AsyncClient, name: str
) -> None:
    answer = await http.get(f"/errors/{name}")
    assert answer.status_code == 503
    assert problem_of(answer)["detail"] == "the database is unavailable"
    assert answer.headers["retry-after"] == "1"
    assert "s3cret" not in answer.text


async def test_an_unknown_error_is_500_without_its_text_and_is_logged(
    http: httpx.AsyncClient,
) -> None:
    with capture_logs() as lines:
        answer = await http.get("/errors/unknown")
    assert answer.status_code == 500
    assert problem_of(answer)["title"] == "Internal error"
    assert "s3cret" not in answer.text
    assert [line["path"] for line in lines if line["log_level"] == "error"] == ["/errors/unknown"]


async def test_a_wrong_body_names_each_field(http: httpx.AsyncClient) -> None:
    answer = await http.post("/orders", json={"lines": [{"sku": "a", "quantity": 0}, {}]})
    assert answer.status_code == 422
    errors = problem_of(answer)["errors"]
    assert isinstance(errors, list)
    assert [error["field"] for error in errors] == [
        "lines.0.quantity",
        "lines.1.sku",
        "lines.1.quantity",
    ]


async def test_a_problem_stays_small_however_many_fields_are_invalid() -> None:
    limits = ServiceSettings(request_max_bytes=1024 * 1024)
    async with client_for(make_app(router, settings=limits)) as http:
        answer = await http.post("/orders", json={"lines": [{}] * 5000})
        long_key = await http.post("/strict", json={"k" * 500_000: 1})
    assert answer.status_code == 422
    errors = problem_of(answer)["errors"]
    assert isinstance(errors, list)
    assert len(errors) == 20
    assert errors[1] == {"field": "lines.0.quantity", "detail": "Field required"}
    assert str(problem_of(answer)["detail"]).endswith(
        "lines.9.quantity: Field required; and 9980 more"
    )
    assert long_key.status_code == 422
    assert len(long_key.content) < 1000


async def test_a_wrong_parameter_is_named(http: httpx.AsyncClient) -> None:
    answer = await http.get("/books", params={"limit": 101})
    assert answer.status_code == 422
    assert "limit" in str(problem_of(answer)["detail"])


@pytest.mark.parametrize("content", [b"{lines", b'"\xff"'])
async def test_a_body_of_invalid_json_is_a_problem_of_the_body(
    http: httpx.AsyncClient, content: bytes
) -> None:
    answer = await http.post(
        "/orders", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    errors = problem_of(answer)["errors"]
    assert isinstance(errors, list)
    assert errors[0]["field"] == "body"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_with_another_content_type_is_415_and_names_the_right_one(
    http: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await http.post("/orders", content=b'{"lines": []}', headers=headers)
    assert answer.status_code == 415
    assert problem_of(answer)["detail"] == "Content-Type must be application/json"


async def test_a_path_with_a_trailing_slash_is_not_redirected(http: httpx.AsyncClient) -> None:
    assert problem_of(await http.get("/books/"))["status"] == 404


async def test_an_unknown_path_and_a_wrong_method_are_problems(http: httpx.AsyncClient) -> None:
    assert problem_of(await http.get("/nowhere"))["status"] == 404
    wrong = await http.delete("/orders")
    assert problem_of(wrong)["status"] == 405
    assert wrong.headers["allow"] == "POST"


def pieces(total: int) -> AsyncIterator[bytes]:
    async def send() -> AsyncIterator[bytes]:
        for _ in range(total // 100):
            yield b"x" * 100

    return send()


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_413_whether_its_length_is_announced_or_not(
    http: httpx.AsyncClient, announced: bool
) -> None:
    content = b"x" * 1100 if announced else pieces(1100)
    answer = await http.post("/orders", content=content)
    assert answer.status_code == 413
    assert "1000 bytes" in str(problem_of(answer)["detail"])


async def test_a_body_announced_as_too_large_is_refused_before_it_comes() -> None:
    async with serving(
        make_app(router, settings=ServiceSettings(request_max_bytes=1000))
    ) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n")
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 60)
        writer.close()


async def test_a_body_up_to_the_limit_is_accepted(http: httpx.AsyncClient) -> None:
    body = b'{"lines": []}'.ljust(1000)
    answer = await http.post("/orders", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
