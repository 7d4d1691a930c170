"""The AsyncAPI document of a service describes the events that it publishes and consumes."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chassis.events.wire.lanes import LANES
from devkit.workspace import Workspace

Slipway = Callable[..., subprocess.CompletedProcess[str]]

SOLD, RETURNED = "bookstore.v1.BookSold", "bookstore.v1.BookReturned"


@pytest.fixture
def rendered(bookshop: Workspace, slipway: Slipway) -> Path:
    assert slipway("render").stderr == ""
    return bookshop.root


def document(rendered: Path, service: str) -> Any:
    text = (rendered / f"services/{service}/deploy/asyncapi.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def test_what_a_service_publishes_and_hears_are_operations(rendered: Path) -> None:
    bookstore = document(rendered, "bookstore")

    assert {name: each["action"] for name, each in bookstore["operations"].items()} == {
        f"publish-{RETURNED}": "send",
        f"publish-{SOLD}": "send",
        f"receive-{RETURNED}": "receive",
    }
    window = document(rendered, "window")
    assert list(window["operations"]) == [f"receive-{SOLD}"]
    assert window["operations"][f"receive-{SOLD}"]["summary"].startswith(
        "Received by every replica"
    )


def test_a_channel_is_the_subjects_of_a_type_in_all_lanes(rendered: Path) -> None:
    window = document(rendered, "window")
    lane, channel = window["components"]["parameters"]["lane"], window["channels"][SOLD]

    assert channel["address"] == f"{SOLD}.{{lane}}"
    assert channel["parameters"] == {"lane": {"$ref": "#/components/parameters/lane"}}
    assert lane["enum"] == [str(lane) for lane in range(LANES)]
    assert "stream bookstore" in channel["description"]


def test_a_message_has_its_key_its_headers_and_its_schema(rendered: Path) -> None:
    components = document(rendered, "bookstore")["components"]

    assert components["messages"][SOLD] == {
        "name": SOLD,
        "title": "BookSold",
        "summary": "The partition key is book_id.",
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"$ref": f"#/components/schemas/{SOLD}"},
    }
    assert components["schemas"][SOLD]["properties"] == {
        "book_id": {"type": "string"},
        "customer_id": {"type": "string"},
        "price": {"type": "string", "pattern": "^-?[0-9]{1,20}$"},
    }


def test_an_event_of_a_producer_outside_is_found_by_its_subject(
    bookshop: Workspace, slipway: Slipway
) -> None:
    service = bookshop.root / "services/window/src/window_main/service.py"
    code = service.read_text(encoding="utf-8")
    heard = (
        '@events.on_foreign(BookSold, stream="SALES", subject="sales.>", type="com.example.sold")\n'
        "async def outside(book: BookSold) -> None:\n    pass\n\n\nservice = "
    )
    service.write_text(code.replace("service = ", heard), encoding="utf-8")

    assert slipway("render").stderr == ""

    window = document(bookshop.root, "window")
    assert window["channels"]["com.example.sold"]["address"] == "sales.>"
    assert window["components"]["messages"]["com.example.sold"]["payload"] == {
        "$ref": f"#/components/schemas/{SOLD}"
    }
    catalog = (bookshop.root / "docs/catalog.md").read_text(encoding="utf-8")
    assert "| `com.example.sold` | outside: sales.> of stream SALES | window |" in catalog


def test_the_catalogue_says_who_publishes_and_who_hears(rendered: Path) -> None:
    catalog = (rendered / "docs/catalog.md").read_text(encoding="utf-8")

    assert (
        "| [bookstore](../services/bookstore) | 8091 | 9091 | yes |"
        " [2 published, 1 consumed](../services/bookstore/deploy/asyncapi.yaml) |"
    ) in catalog
    assert "| [window](../services/window) | 8090 (public) |  |  |" in catalog
    assert f"| `{SOLD}` | bookstore | window (every replica) |" in catalog
    assert "| `bookstore.v1.BooksService` | bookstore | window |" in catalog
    assert "  bookstore -- BookSold --> window\n" in catalog
    assert "  window -. gRPC .-> bookstore\n" in catalog
