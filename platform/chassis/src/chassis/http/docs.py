"""/docs: the API's documentation, to read and try out. The page loads nothing from other hosts."""

import mimetypes
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

__all__ = ["PATHS", "install"]

PATHS = ("/docs", "/openapi.json")
"""The paths at and below which an API's documentation is served."""

_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
_CACHED_A_DAY = {"cache-control": "max-age=86400"}


def install(app: FastAPI) -> None:
    """Add the page. Its links are relative, so that it works below any prefix."""
    folder = _static_files()
    script, style, icon = (f"docs/{name}" for name in _FILES)
    page = get_swagger_ui_html(
        title=app.title,
        openapi_url="openapi.json",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    )

    async def docs(_: Request) -> Response:
        return Response(page.body, media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(404)
        kind, _ = mimetypes.guess_type(name)
        return FileResponse(folder / name, media_type=kind, headers=_CACHED_A_DAY)

    app.router.routes += [Route("/docs", docs), Route("/docs/{name}", file)]


def _static_files() -> Path:
    """Return the folder with the scripts and styles of the API's documentation."""
    # The distribution is looked up without an import, because only its files are needed.
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("fastapi-offline is missing: `make setup` installs it")
    return Path(found.origin).parent / "static"
