"""Undeclared events and calls in a service's source are found without running it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from bookstore.v1 import BookReturned, BookSold, BooksService
from chassis import EventRouter, Service, ServiceSettings
from chassis.parameters import DeclarationError
from chassis.source_use import undeclared_use
from chassis.testing import HandlerHarness, check_declarations

pytestmark = pytest.mark.unit

MakeService = Callable[..., Service]

CALLS = "calls bookstore.v1.BooksService; add it to calls=[...] of bookstore"
PUBLISHES = "publishes bookstore.v1.BookSold; add it to publishes=[...] of bookstore"


@pytest.fixture
def make_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeService]:
    """A function that makes a service in a package with this source and its settings."""
    package = f"shop_{uuid4().hex}"
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(source: str, **declared: object) -> Service:
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        settings = "from chassis import ServiceSettings\nclass Settings(ServiceSettings): ...\n"
        (folder / "settings.py").write_text(settings, encoding="utf-8")
        (folder / "rpc.py").write_text(source, encoding="utf-8")
        module = __import__(f"{package}.settings", fromlist=["Settings"])
        return Service("bookstore", settings=module.Settings, **declared)  # type: ignore[arg-type]

    yield make
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("from bookstore.v1 import BooksServiceStub\nstub = BooksServiceStub(None)", f"2: {CALLS}"),
        ("import bookstore.v1\nstub = bookstore.v1.BooksServiceStub(None)", f"2: {CALLS}"),
        ("import bookstore.v1 as b\ndef f(s: b.BooksServiceAsyncStub): ...", f"2: {CALLS}"),
        (
            "def later():\n    from bookstore.v1 import BooksServiceStub as S\n    return S, S.x",
            None,
        ),
        ("from bookstore.v1.events_pb2 import BookSold\nx = BookSold()", f"2: {PUBLISHES}"),
        ("from bookstore.v1 import BookSold\ntx.publish(BookSold(book_id='1'))", f"2: {PUBLISHES}"),
        ("from bookstore import v1\ntx.publish(v1.BookSold())", f"2: {PUBLISHES}"),
        ("from bookstore.v1 import BookSold\ndef on(sold: BookSold): ...", None),
        ("from nowhere_to_be_found import OtherStub\nx = OtherStub()", None),
    ],
)
def test_a_stub_or_an_event_that_is_not_declared_is_found_where_it_is_used(
    make_service: MakeService, source: str, line: str | None
) -> None:
    found = undeclared_use(make_service(source))

    assert [each.partition("/")[2] for each in found] == ([f"rpc.py:{line}"] if line else [])


def test_declared_use_is_not_reported(make_service: MakeService) -> None:
    source = (
        "from bookstore.v1 import BookReturned, BookSold, BooksServiceStub\n"
        "tx.publish(BookSold())\nevent = BookReturned()\nBooksServiceStub(None)\n"
    )
    declared = {"publishes": [BookSold, BookReturned], "calls": [BooksService]}

    assert undeclared_use(make_service(source, **declared)) == ()


def test_an_event_of_another_service_is_found_only_where_it_is_published(
    make_service: MakeService,
) -> None:
    source = "from bookstore.v1 import BookSold\nx = BookSold()\ntx.publish(BookSold())\n"
    service = make_service(source)
    service.name = "window"

    (line,) = undeclared_use(service)

    assert line.endswith(f"rpc.py:3: {PUBLISHES.replace('of bookstore', 'of window')}")


def test_a_services_own_tests_fail_by_its_harness_and_by_the_check(
    make_service: MakeService,
) -> None:
    service = make_service("from bookstore.v1 import BookSold\ntx.publish(BookSold())\n")

    with pytest.raises(DeclarationError, match=PUBLISHES.partition(";")[0]):
        HandlerHarness.of(service)
    with pytest.raises(DeclarationError, match=PUBLISHES.partition(";")[0]):
        check_declarations(service)


def test_the_check_also_finds_what_would_keep_the_service_from_starting() -> None:
    events = EventRouter()

    @events.on(BookSold)
    def handle(sold: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"handle\(sold\) is annotated"):
        check_declarations(Service("shelf", settings=ServiceSettings, events=[events]))
