"""The HTTP side of a service in this process: asked directly, or by a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import APIRouter, FastAPI

from chassis import ServiceSettings
from chassis.http.app import create_app
from chassis.http.server import HttpServer
from chassis.readiness import Readiness
from chassis.rpc import Clients

__all__ = ["ask", "make", "reading", "reading_from", "serving"]


def make(
    *routers: APIRouter,
    settings: ServiceSettings | None = None,
    readiness: Readiness | None = None,
) -> FastAPI:
    """The application of a service with these routers."""
    settings = settings or ServiceSettings(http_port=0)
    return create_app(
        "bookshop",
        routers,
        settings,
        readiness or Readiness(),
        Clients("bookshop", (), settings),
    )


@asynccontextmanager
async def ask(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a network between."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bookshop") as client:
        yield client


@asynccontextmanager
async def serving(
    app: FastAPI, settings: ServiceSettings | None = None
) -> AsyncIterator[HttpServer]:
    """A real server on a free port."""
    server = HttpServer(app, settings or ServiceSettings(http_port=0))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def reading_from(server: HttpServer) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of its /events, for as long as one reads."""
    url = f"http://127.0.0.1:{server.port}/events"
    async with httpx.AsyncClient() as client, client.stream("GET", url) as answer:
        yield answer.aiter_lines()


@asynccontextmanager
async def reading(app: FastAPI) -> AsyncIterator[tuple[HttpServer, AsyncIterator[str]]]:
    """A real server, and the lines of its /events."""
    async with serving(app) as server, reading_from(server) as lines:
        yield server, lines
