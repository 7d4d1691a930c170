"""Bare Starlette on uvicorn: no routing by types, no validation."""

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.variables import port


async def item(request: Request) -> JSONResponse:
    """Return an item."""
    id = request.path_params["id"]
    return JSONResponse({"id": id, "name": "widget", "price": 12.5, "tags": ["a", "b"]})


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/items/{id:int}", item)]),
        host="127.0.0.1",
        port=port(),
        log_config=None,
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
