"""Fixtures with a small workspace: two services, contracts, and the platform's members."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "parts"))
sys.path.append(str(Path(__file__).parents[2] / "chassis/tests/parts"))

from forked_python import run_module

from devkit.platform import Platform, PlatformOptions
from devkit.workspace import Workspace
from localservers import free_port

ODD_NAME = "50% größer? c#1"

Write = Callable[[str, str], Path]

# A minimal service process: it answers /readyz and prints its settings.
_SETTINGS = """
from chassis import ServiceSettings
from pydantic import SecretStr

class {title}Settings(ServiceSettings):
    http_port: int = {http}
{more}
"""

_MAIN = """
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

print("starting", json.dumps({{k: v for k, v in os.environ.items() if k.startswith("APP_")}}))
{body}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{answer}")
    def log_message(self, *args):
        pass

def stop(number, frame):
    print("stopping", time.time())
    {stop}

signal.signal(signal.SIGTERM, stop)
class Server(ThreadingHTTPServer):
    daemon_threads = True
Server(("127.0.0.1", int(os.environ["APP_HTTP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The workspace's folder; its name has characters that are special in URLs and settings."""
    return tmp_path / ODD_NAME


@pytest.fixture
def write(root: Path) -> Write:
    """A function that writes a file into the workspace."""

    def write_file(name: str, text: str) -> Path:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


@pytest.fixture
def workspace(root: Path, write: Write) -> Workspace:
    """A workspace with members as in the real one, without code."""
    write(
        "pyproject.toml",
        '[tool.uv.workspace]\nmembers = ["contracts", "platform/*", "services/*", "extra"]\n',
    )
    for folder, package in {
        "contracts": "library",
        "platform/chassis/src": "chassis",
        "platform/devkit/src": "devkit",
        "platform/localservers/src": "localservers",
        "services/lending/src": "lending",
        "services/shelves/src": "shelves",
        "extra/src": "extra",
    }.items():
        write(f"{folder}/{package}/__init__.py", "")
        project = f'[project]\nname = "slipway-{package}"\nversion = "1"\n'
        if folder.startswith("services"):
            project += f'[project.entry-points."slipway.services"]\n{package} = "{package}:x"\n'
        write(f"{folder.removesuffix('/src')}/pyproject.toml", project)
    return Workspace(root)


@pytest.fixture
def write_service(write: Write) -> Callable[..., None]:
    """A function that writes a service; `settings` are lines of its settings class."""

    def write_files(
        name: str,
        *,
        http: int,
        settings: str = "",
        body: str = "",
        answer: str = "ok",
        stop: str = "os._exit(0)",
    ) -> None:
        write(
            f"services/{name}/pyproject.toml",
            f'[project]\nname = "slipway-{name}"\nversion = "1"\n'
            f'[project.entry-points."slipway.services"]\n{name} = "{name}.service:service"\n',
        )
        folder = f"services/{name}/src/{name}"
        write(f"{folder}/__init__.py", "")
        more = "\n".join(f"    {line}" for line in settings.splitlines())
        write(f"{folder}/settings.py", _SETTINGS.format(title=name.title(), http=http, more=more))
        write(f"{folder}/__main__.py", _MAIN.format(body=body, answer=answer, stop=stop))

    return write_files


@pytest.fixture
def desk() -> str:
    """A new service name for each test, because a settings module stays imported."""
    return f"desk{free_port()}"


@pytest.fixture
def shop(
    workspace: Workspace, write: Write, desk: str, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """A workspace of one service, `desk`, which the test writes."""
    write("pyproject.toml", f'[tool.uv.workspace]\nmembers = ["platform/*", "services/{desk}"]\n')
    monkeypatch.setenv("PYTHONPATH", str(workspace.root / f"services/{desk}/src"))
    return Workspace(workspace.root)


@pytest.fixture
def defaults(shop: Workspace) -> dict[str, object]:
    """The default options of the platforms that `run` makes."""
    return {"data": shop.state, "workspace": shop, "free_ports": True}


@pytest.fixture
async def run(defaults: dict[str, object]) -> AsyncIterator[Callable[..., Platform]]:
    """A function that makes platforms, which are stopped at the end of the test."""
    platforms: list[Platform] = []

    def make(**options: object) -> Platform:
        platform = Platform(PlatformOptions(**(defaults | options)))  # type: ignore[arg-type]
        platforms.append(platform)
        return platform

    yield make
    for platform in platforms:
        await platform.stop()


_BOOKSTORE = """
from bookstore.v1 import BookReturned, BookSold, BooksService, GetBookRequest, GetBookResponse
from bookstore.v1 import SellBookRequest, SellBookResponse
from chassis import EventRouter, Service, ServiceSettings, Transaction
from fastapi import APIRouter
from pydantic import Field, SecretStr

events, router = EventRouter(), APIRouter()


class Settings(ServiceSettings):
    http_port: int = 8091
    grpc_port: int = 9091
    database_url: SecretStr = SecretStr("sqlite:///bookstore.db")
    discount: float = Field(0.5, description="share that is taken off the price")
    tills: list[str] = Field(description="names of the tills")
    licence: SecretStr = Field(SecretStr(""), description="key of the till's software")


@events.on(BookReturned)
def take_back(book: BookReturned, tx: Transaction) -> None:
    pass


class Books:
    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        return SellBookResponse()

    def get_book(self, request: GetBookRequest) -> GetBookResponse:
        return GetBookResponse()


service = Service(
    "bookstore", settings=Settings, events=[events], grpc=[(BooksService, Books)],
    publishes=[BookSold, BookReturned],
)
"""

_WINDOW = """
from bookstore.v1 import BookSold, BooksService
from chassis import EventRouter, Service, ServiceSettings
from fastapi import APIRouter

events, router = EventRouter(), APIRouter()


class Settings(ServiceSettings):
    http_port: int = 8090


@router.get("/books")
def books() -> str:
    return "all"


@events.broadcast(BookSold)
async def tell(book: BookSold) -> None:
    pass


service = Service(
    "window", settings=Settings, events=[events], http=[router], calls=[BooksService]
)
"""


@pytest.fixture
def bookshop(workspace: Workspace, write: Write) -> Workspace:
    """A workspace of two services: window calls bookstore and consumes its events."""
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/*"]\n')
    shutil.rmtree(workspace.root / "services")
    for name, code in {"bookstore": _BOOKSTORE, "window": _WINDOW}.items():
        write(
            f"services/{name}/pyproject.toml",
            f'[project]\nname = "acme-{name}"\nversion = "1"\n'
            f'[project.entry-points."slipway.services"]\n{name} = "{name}_main.service:service"\n',
        )
        write(f"services/{name}/src/{name}_main/__init__.py", "")
        write(f"services/{name}/src/{name}_main/service.py", code)
    return Workspace(workspace.root)


@pytest.fixture
def slipway(root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs `slipway` in the workspace, in another process."""
    platform = Path(__file__).parents[2]
    paths = ("devkit/src", "chassis/src", "localservers/src", "chassis/tests/contracts")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # There are no other variables, because derived files must depend on the code only. Bytecode
        # would hide a change that a test makes within the same second, if the size stays the same.
        environment = {
            "PYTHONPATH": os.pathsep.join(str(platform / path) for path in paths),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return run_module("devkit", *arguments, environment=environment, folder=root)

    return run
