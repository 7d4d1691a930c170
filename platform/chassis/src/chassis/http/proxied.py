"""Middleware for a service behind proxies: the prefix of its URLs, its clients' addresses."""

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chassis.settings import ServiceSettings

__all__ = ["install"]


def install(app: FastAPI, settings: ServiceSettings) -> None:
    """Add the middleware that the settings ask for, outside of all other middleware."""
    if settings.http_root_path:
        app.add_middleware(RootPath, path=settings.http_root_path)
    if settings.http_trusted_proxies:
        networks = [str(network) for network in settings.http_trusted_proxies]
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=networks)


class RootPath:
    """Middleware that sets the prefix of public URLs, whether a proxy strips it or leaves it."""

    def __init__(self, app: ASGIApp, *, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["root_path"] = self._path
        await self._app(scope, receive, send)
