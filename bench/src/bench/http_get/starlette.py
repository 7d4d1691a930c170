"""Bare Starlette on uvicorn: no routing by types, no validation."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench import asgi


async def item(request: Request) -> JSONResponse:
    """Return an item."""
    id = request.path_params["id"]
    return JSONResponse({"id": id, "name": "widget", "price": 12.5, "tags": ["a", "b"]})


if __name__ == "__main__":
    asgi.serve(Starlette(routes=[Route("/items/{id:int}", item)]))
