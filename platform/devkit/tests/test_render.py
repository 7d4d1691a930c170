"""`slipway render` derives the deployment's files, and `--check` names what differs."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.workspace import Workspace

Slipway = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[[str, str], Path]

FACTS = "services/window/deploy/facts.yaml"


@pytest.fixture
def rendered(bookshop: Workspace, slipway: Slipway) -> Path:
    """The folder of a workspace whose derived files are up to date."""
    assert slipway("render").returncode == 0
    return bookshop.root


def facts(root: Path, service: str) -> Any:
    text = (root / f"services/{service}/deploy/facts.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["facts"]


def test_the_facts_of_a_service_are_what_its_composition_root_declares(rendered: Path) -> None:
    assert facts(rendered, "bookstore") == {
        "name": "bookstore",
        "image": "acme-bookstore",
        "http": {"port": 8091, "paths": []},
        "grpc": {
            "port": 9091,
            "services": ["bookstore.v1.BooksService", "slipway.v1.LedgerService"],
            "reads": [
                "bookstore.v1.BooksService/GetBook",
                "slipway.v1.LedgerService/GetEventLedger",
            ],
        },
        "calls": {},
        "callers": {"window": ["bookstore.v1.BooksService"]},
        "publishes": ["bookstore.v1.BookSold", "bookstore.v1.BookReturned"],
        "subscribes": {"bookstore": ["bookstore.v1.BookReturned"]},
        "database": True,
        "migrations": True,
        "lanes": 20,
        "secrets": ["APP_DATABASE_URL"],
    }
    window = facts(rendered, "window")
    assert "grpc" not in window
    assert window["calls"] == {
        "bookstore": {"port": 9091, "services": ["bookstore.v1.BooksService"]}
    }


def test_what_has_been_derived_is_not_written_again(rendered: Path, slipway: Slipway) -> None:
    assert slipway("render").stdout == ""
    checked = slipway("render", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_each_file_that_differs_is_named_and_put_right(rendered: Path, slipway: Slipway) -> None:
    with (rendered / FACTS).open("a", encoding="utf-8") as file:
        file.write("more: true\n")
    (rendered / "services/bookstore/deploy/facts.yaml").unlink()

    checked = slipway("render", "--check")

    assert checked.returncode == 1
    assert checked.stderr == (
        "slipway: Derived files differ from the code; run `make render`:\n"
        "  services/bookstore/deploy/facts.yaml is missing\n"
        f"  {FACTS} differs\n"
    )
    slipway("render")
    assert slipway("render", "--check").returncode == 0


def test_a_change_of_the_code_is_a_change_of_the_facts(rendered: Path, slipway: Slipway) -> None:
    service = rendered / "services/window/src/window_main/service.py"
    code = service.read_text(encoding="utf-8")
    service.write_text(code.replace("8090", "8099"), encoding="utf-8")

    assert f"  {FACTS} differs\n" in slipway("render", "--check").stderr
    slipway("render")
    assert facts(rendered, "window")["http"]["port"] == 8099


def test_what_is_derived_from_nothing_any_more_is_named_and_deleted(
    rendered: Path, slipway: Slipway, write: Write
) -> None:
    orphan = write("deploy/k8s/old.yaml", (rendered / FACTS).read_text(encoding="utf-8"))
    another = write("tools/deploy/old.yaml", orphan.read_text(encoding="utf-8"))
    by_hand = write("deploy/k8s/hand.yaml", "a: 1\n")

    checked = slipway("render", "--check")
    assert "  deploy/k8s/old.yaml is left over from a deleted service\n" in checked.stderr
    assert (
        slipway("render").stdout == "deleted deploy/k8s/old.yaml\ndeleted tools/deploy/old.yaml\n"
    )
    assert not orphan.exists()
    assert not another.exists()
    assert by_hand.exists()


def test_a_file_written_by_hand_is_never_overwritten(rendered: Path, slipway: Slipway) -> None:
    (rendered / FACTS).write_text("mine: true\n", encoding="utf-8")

    done = slipway("render")

    assert done.returncode == 1
    advice = f"not marked as derived. Move or delete them, so that they can be derived:\n  {FACTS}"
    assert advice in done.stderr
    assert (rendered / FACTS).read_text(encoding="utf-8") == "mine: true\n"


def test_the_own_values_of_a_service_are_written_once_and_then_left_alone(
    rendered: Path, slipway: Slipway
) -> None:
    values = rendered / "services/window/deploy/values.yaml"
    first = "# Values of the chart deploy/helm/service for window in every environment.\n"
    assert values.read_text(encoding="utf-8") == first
    values.write_text("autoscaling:\n  enabled: true\n", encoding="utf-8")

    slipway("render")

    assert values.read_text(encoding="utf-8") == "autoscaling:\n  enabled: true\n"
    values.unlink()
    checked = slipway("render", "--check")
    assert "  services/window/deploy/values.yaml is missing\n" in checked.stderr


def test_deleting_the_folder_of_a_service_deletes_its_deployment(
    rendered: Path, slipway: Slipway
) -> None:
    shutil.rmtree(rendered / "services/window")

    assert "services/bookstore/deploy/facts.yaml differs" in slipway("render", "--check").stderr
    slipway("render")
    assert facts(rendered, "bookstore")["callers"] == {}
    assert slipway("render", "--check").returncode == 0


def test_a_platform_without_services_derives_nothing(rendered: Path, slipway: Slipway) -> None:
    shutil.rmtree(rendered / "services")

    slipway("render")

    assert slipway("render", "--check").returncode == 0
