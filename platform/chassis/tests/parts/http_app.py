"""The HTTP application of a service in this process, called directly or through a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import APIRouter, FastAPI

from chassis import ServiceSettings
from chassis.http.app import create_app
from chassis.http.server import HttpServer
from chassis.readiness import Readiness
from chassis.rpc import Clients

__all__ = ["client_for", "make_app", "reading", "reading_from", "serving"]


def make_app(
    *routers: APIRouter,
    settings: ServiceSettings | None = None,
    readiness: Readiness | None = None,
) -> FastAPI:
    """Return the application of a service with these routers."""
    settings = settings or ServiceSettings(http_port=0)
    return create_app(
        "bookshop",
        routers,
        settings,
        readiness or Readiness(),
        Clients("bookshop", (), settings),
    )


@asynccontextmanager
async def client_for(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that calls the application without a network."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bookshop") as client:
        yield client


@asynccontextmanager
async def serving(
    app: FastAPI, settings: ServiceSettings | None = None, **options: float
) -> AsyncIterator[HttpServer]:
    """Yield a real server on a free port; `options` are HttpServer's."""
    server = HttpServer(app, settings or ServiceSettings(http_port=0), **options)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def reading_from(server: HttpServer) -> AsyncIterator[AsyncIterator[str]]:
    """Yield the lines of the server's /events; the connection closes at the end."""
    url = f"http://127.0.0.1:{server.port}/events"
    async with httpx.AsyncClient() as client, client.stream("GET", url) as answer:
        yield answer.aiter_lines()


@asynccontextmanager
async def reading(app: FastAPI) -> AsyncIterator[tuple[HttpServer, AsyncIterator[str]]]:
    """Yield a real server and the lines of its /events."""
    async with serving(app) as server, reading_from(server) as lines:
        yield server, lines
