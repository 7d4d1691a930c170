"""The path prefixes of a service's API are read from its routers, also from nested ones."""

import pytest
from fastapi import APIRouter, FastAPI

from chassis import Service, ServiceSettings
from chassis.http import docs
from devkit.describing.http_paths import http_paths, prefix

pytestmark = pytest.mark.unit


async def answer() -> None:
    pass


def window(*routers: APIRouter) -> Service:
    return Service("window", settings=ServiceSettings, http=routers)


def test_a_router_within_a_router_is_read() -> None:
    inner, outer = APIRouter(prefix="/reviews"), APIRouter(prefix="/books")
    inner.add_api_route("/{number}", answer)
    outer.include_router(inner)
    other = APIRouter()
    other.include_router(inner)

    assert http_paths(window(outer)) == ("/books/reviews", *docs.PATHS)
    assert http_paths(window(outer, other)) == ("/books/reviews", *docs.PATHS, "/reviews")


def test_any_kind_of_route_is_read() -> None:
    router = APIRouter()
    router.add_api_websocket_route("/chat", answer)
    router.mount("/files", FastAPI())
    router.add_api_route("/hidden", answer, include_in_schema=False)

    assert http_paths(window(router)) == ("/chat", "/docs", "/files", "/hidden", "/openapi.json")


def test_what_lies_below_another_prefix_is_left_out() -> None:
    router = APIRouter()
    for path in ("/books/new", "/books/{isbn}", "/bookshelves"):
        router.add_api_route(path, answer)

    assert http_paths(window(router)) == ("/books", "/bookshelves", *docs.PATHS)


def test_without_routes_there_is_no_api() -> None:
    assert http_paths(window()) == ()


@pytest.mark.parametrize(
    ("route", "known_by"),
    [
        ("/books", "/books"),
        ("/books/{isbn}/reviews", "/books"),
        ("/books/by-{author}", "/books"),
        ("/books/", "/books"),
        ("/", "/"),
        ("/{anything}", "/*"),
        ("/b{anything}", "/*"),
        ("", "/*"),
    ],
)
def test_a_route_is_known_by_what_comes_before_its_first_parameter(
    route: str, known_by: str
) -> None:
    assert prefix(route) == known_by
