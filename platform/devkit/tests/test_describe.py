"""`slipway describe` prints what the composition roots declare."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chassis.events.wire.lanes import LANES
from devkit.workspace import Workspace

Slipway = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[[str, str], Path]

pytestmark = pytest.mark.usefixtures("bookshop")


def described(slipway: Slipway, *arguments: str) -> Any:
    done = slipway("describe", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_service_is_described_by_its_composition_root(slipway: Slipway) -> None:
    bookstore = described(slipway, "bookstore")

    assert bookstore["distribution"] == "acme-bookstore"
    assert bookstore["package"] == "bookstore_main"
    assert bookstore["folder"] == "services/bookstore"
    assert bookstore["http"] == {"port": 8091, "paths": []}
    assert bookstore["grpc"]["port"] == 9091
    assert [each["full_name"] for each in bookstore["grpc"]["services"]] == [
        "bookstore.v1.BooksService",
        "slipway.v1.LedgerService",
    ]
    assert bookstore["grpc"]["services"][0]["methods"][0] == {
        "name": "SellBook",
        "path": "/bookstore.v1.BooksService/SellBook",
        "reads_only": False,
    }
    assert bookstore["publishes"] == ["bookstore.v1.BookSold", "bookstore.v1.BookReturned"]
    assert bookstore["callers"] == [{"service": "window", "full_name": "bookstore.v1.BooksService"}]
    assert bookstore["database"] is True
    assert bookstore["probes"]["ready"] == "/readyz"


def test_a_service_without_database_and_grpc_says_so(slipway: Slipway) -> None:
    window = described(slipway, "window")

    assert window["http"] == {"port": 8090, "paths": ["/books", "/docs", "/openapi.json"]}
    assert window["grpc"] is None
    assert (window["database"], window["migrations"]) == (False, False)
    assert window["calls"] == [
        {"service": "bookstore", "full_name": "bookstore.v1.BooksService", "port": 9091}
    ]
    assert window["subscribes"] == [
        {
            "type": "bookstore.v1.BookSold",
            "producer": "bookstore",
            "kind": "broadcast",
            "start": "newest",
            "message": "bookstore.v1.BookSold",
            "foreign": None,
        }
    ]


def test_each_setting_has_its_type_its_default_and_its_meaning(slipway: Slipway) -> None:
    settings = {each["variable"]: each for each in described(slipway, "bookstore")["settings"]}

    assert settings["APP_DISCOUNT"] == {
        "variable": "APP_DISCOUNT",
        "type": "number",
        "default": 0.5,
        "required": False,
        "secret": False,
        "description": "share that is taken off the price",
    }
    assert settings["APP_TILLS"]["type"] == "list of string"
    assert settings["APP_TILLS"]["required"] is True
    assert settings["APP_ENVIRONMENT"]["type"] == "one of development, production"
    assert settings["APP_TARGETS"]["type"] == "map of string"


def test_the_default_of_a_secret_is_not_described(slipway: Slipway) -> None:
    settings = {each["variable"]: each for each in described(slipway, "bookstore")["settings"]}

    database = settings["APP_DATABASE_URL"]
    assert (database["default"], database["secret"], database["required"]) == (None, True, True)
    licence = settings["APP_LICENCE"]
    assert (licence["default"], licence["secret"], licence["required"]) == (None, True, False)


def test_without_a_name_the_whole_platform_is_described(slipway: Slipway) -> None:
    platform = described(slipway)

    assert [each["name"] for each in platform["services"]] == ["bookstore", "window"]
    assert platform["lanes"] == LANES


def test_an_unknown_service_is_answered_with_the_known_ones(slipway: Slipway) -> None:
    done = slipway("describe", "windwo")

    assert done.returncode == 64
    assert done.stderr == "slipway: there is no service windwo; there are: bookstore, window\n"


def test_a_service_that_cannot_be_imported_is_named(slipway: Slipway, write: Write) -> None:
    write("services/window/src/window_main/service.py", "import nothing_of_this_name\n")

    done = slipway("describe")

    assert done.returncode == 1
    assert done.stderr.startswith(
        "slipway: window_main.service:service of services/window can't be imported:"
        " ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )


def test_a_service_that_uses_what_it_does_not_declare_is_not_described(
    slipway: Slipway, bookshop: Workspace, write: Write
) -> None:
    write("services/window/src/window_main/settings.py", "")
    write(
        "services/window/src/window_main/sales.py",
        "from bookstore.v1 import BookSold\n\n\ndef sell(tx: object) -> None:\n"
        "    tx.publish(BookSold())\n",
    )

    done = slipway("describe", "bookstore")

    assert done.returncode == 1
    assert done.stderr == (
        "slipway: A service uses what it does not declare:\n"
        "  window_main/sales.py:5: publishes bookstore.v1.BookSold;"
        " add it to publishes=[...] of window\n"
    )


def test_a_call_of_a_service_that_is_not_here_needs_its_address(
    slipway: Slipway, bookshop: Workspace, write: Write
) -> None:
    service = bookshop.root / "services/window/src/window_main/service.py"
    code = service.read_text(encoding="utf-8")
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/window"]\n')

    refused = slipway("describe", "window")
    assert "there is no service bookstore: give its address in the default of" in refused.stderr

    target = '    targets: dict[str, str] = {"bookstore": "dns:///books.example:9777"}\n'
    service.write_text(
        code.replace("http_port: int = 8090\n", f"http_port: int = 8090\n{target}"),
        encoding="utf-8",
    )
    assert described(slipway, "window")["calls"][0]["port"] == 9777
