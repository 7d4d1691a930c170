"""Generation and checks of contracts, on contracts that the tests break."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.contracts.check import check, drift, release
from devkit.contracts.generate import generate
from devkit.errors import DevkitError
from devkit.workspace import Workspace

Write = Callable[[str, str], Path]

BOOKS = "contracts/library/books/v1/books.proto"
OPTIONS = "platform/chassis/src/slipway/v1/options.proto"
SERVICE = """syntax = "proto3";
package library.books.v1;
import "slipway/v1/options.proto";

enum Condition {
  CONDITION_UNSPECIFIED = 0;
  CONDITION_WORN = 1;
}

message BookLent {
  option (slipway.v1.partition_key) = "book_id";
  string book_id = 1;
  string reader_id = 2;
  repeated string notes = 3;
  int64 days = 4;
  Condition condition = 5;
}

message GetBookRequest {
  string book_id = 1;
}

message GetBookResponse {
  string title = 1;
}

service BooksService {
  rpc GetBook(GetBookRequest) returns (GetBookResponse);
}
"""


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated code of the contract, which the first test fills."""
    return tmp_path_factory.mktemp("contracts") / "generated"


@pytest.fixture
def contracts(workspace: Workspace, write: Write, generated: Path) -> Workspace:
    """The small workspace with one contract and the platform's option, both generated."""
    real = Path(__file__).parents[2] / "chassis/src/slipway/v1/options.proto"
    write(OPTIONS, real.read_text(encoding="utf-8"))
    write(BOOKS, SERVICE)
    if generated.exists():
        shutil.copytree(generated, workspace.root, dirs_exist_ok=True)
    else:
        generate(workspace)
        shutil.copytree(workspace.root, generated)
    return workspace


def problems(workspace: Workspace) -> str:
    with pytest.raises(DevkitError) as raised:
        check(workspace)
    return str(raised.value)


def test_generated_code_is_read_from_its_package_and_typed(
    contracts: Workspace, write: Write
) -> None:
    script = write(
        "reader.py",
        """
import grpc

from library.books.v1 import (
    CONDITION_WORN,
    BookLent,
    BooksService,
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
)


async def title(stub: BooksServiceAsyncStub) -> str:
    return (await stub.GetBook(GetBookRequest(book_id="1"))).title


async def main() -> None:
    async with grpc.aio.insecure_channel("ipv4:127.0.0.1:1") as channel:
        print(await title(BooksServiceStub(channel)))


print(BooksService.full_name, BookLent(condition=CONDITION_WORN).condition)
""",
    )
    path = str(contracts.root / "contracts")

    run = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    typed = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(script)],
        env={"MYPYPATH": path},
        cwd=contracts.root,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (run.stdout, run.stderr) == ("library.books.v1.BooksService 1\n", "")
    assert typed.returncode == 0, typed.stdout


def test_generating_again_changes_nothing(contracts: Workspace) -> None:
    assert generate(contracts) == []


def test_code_of_a_deleted_contract_is_removed(contracts: Workspace, write: Write) -> None:
    extra = write(
        "contracts/library/books/v1/extra.proto",
        'syntax = "proto3";\npackage library.books.v1;\nmessage Extra {}\n',
    )
    generate(contracts)
    extra.unlink()
    assert "contracts/library/books/v1/extra_pb2.py has no .proto file" in drift(contracts)

    generate(contracts)

    assert not list(extra.parent.glob("extra*"))
    assert "Extra" not in (extra.parent / "__init__.py").read_text(encoding="utf-8")


def test_an_init_written_by_hand_is_left_alone(contracts: Workspace, write: Write) -> None:
    by_hand = write("contracts/library/__init__.py", '"""By hand."""\n')

    generate(contracts)

    assert by_hand.read_text(encoding="utf-8") == '"""By hand."""\n'
    assert drift(contracts) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('syntax = "proto3";\nmessage A {}\n', "has no `package` line"),
        ('syntax = "proto3";\npackage library.other.v1;\n', "belongs in a folder library/other/v1"),
    ],
)
def test_a_contract_in_the_wrong_folder_is_refused(
    contracts: Workspace, write: Write, content: str, message: str
) -> None:
    write("contracts/library/books/v1/stray.proto", content)

    with pytest.raises(DevkitError, match=message):
        generate(contracts)


def test_a_contract_that_does_not_compile_is_shown_with_its_line(
    contracts: Workspace, write: Write
) -> None:
    write(BOOKS, SERVICE.replace("string title", "strnig title"))

    with pytest.raises(DevkitError, match=r"books.proto:24.*strnig"):
        generate(contracts)


def test_released_contracts_that_only_grow_pass(contracts: Workspace, write: Write) -> None:
    release(contracts)
    write(BOOKS, SERVICE.replace("int64 days = 4;", "int64 days = 4;\n  string shelf = 6;"))
    generate(contracts)

    check(contracts)


def test_a_released_method_may_begin_to_only_read_and_not_cease_to(
    contracts: Workspace, write: Write
) -> None:
    rpc = "rpc GetBook(GetBookRequest) returns (GetBookResponse)"
    reading = f"{rpc} {{ option idempotency_level = NO_SIDE_EFFECTS; }}"
    release(contracts)
    write(BOOKS, SERVICE.replace(f"{rpc};", reading))
    generate(contracts)
    check(contracts)

    release(contracts)
    write(BOOKS, SERVICE)
    generate(contracts)

    found = problems(contracts)
    assert "library.books.v1.BooksService.GetBook: it was released with idempotency_level" in found


def test_without_a_released_image_the_check_says_how_to_make_one(contracts: Workspace) -> None:
    assert "make contracts-release" in problems(contracts)


def test_a_contract_out_of_style_is_named(contracts: Workspace, write: Write) -> None:
    write(BOOKS, SERVICE.replace("reader_id", "readerId"))
    generate(contracts)

    said = problems(contracts)

    assert "buf lint" in said
    assert f'{BOOKS}:13:10:Field name "readerId" should be lower_snake_case' in said


def test_changes_that_break_a_released_contract_are_refused(
    contracts: Workspace, write: Write
) -> None:
    release(contracts)
    broken = SERVICE
    for before, after in {
        "  repeated string notes = 3;\n": "",
        "int64 days": "int32 days",
        "reader_id": "borrower_id",
        "rpc GetBook(": "rpc FindBook(",
        "CONDITION_WORN = 1": "CONDITION_TORN = 1",
    }.items():
        assert before in broken
        broken = broken.replace(before, after)
    write(BOOKS, broken)

    found = problems(contracts)

    assert "The contracts break released ones" in found
    assert 'Previously present field "3" with name "notes"' in found
    assert 'changed type from "int64" to "int32"' in found
    assert 'changed name from "reader_id" to "borrower_id"' in found
    assert 'Previously present RPC "GetBook"' in found
    assert 'changed name from "CONDITION_WORN" to "CONDITION_TORN"' in found
    with pytest.raises(DevkitError, match="undo these changes first"):
        release(contracts)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (
            'option (slipway.v1.partition_key) = "reader_id";',
            "released as book_id and is reader_id",
        ),
        ("", "released as book_id and is missing now"),
    ],
)
def test_a_released_partition_key_may_not_change(
    contracts: Workspace, write: Write, after: str, said: str
) -> None:
    release(contracts)
    write(BOOKS, SERVICE.replace('option (slipway.v1.partition_key) = "book_id";', after))
    generate(contracts)

    assert f"library.books.v1.BookLent: its partition key was {said}" in problems(contracts)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("isbn", "is not a field of it"),
        ("notes", "must be a single string"),
        ("days", "must be a single string"),
    ],
)
def test_a_partition_key_must_be_a_string_field(
    contracts: Workspace, write: Write, key: str, said: str
) -> None:
    write(BOOKS, SERVICE.replace('= "book_id"', f'= "{key}"'))

    with pytest.raises(DevkitError, match=f"its partition key {key} {said}"):
        release(contracts)


def test_generated_code_that_was_touched_or_lost_is_named(contracts: Workspace) -> None:
    release(contracts)
    folder = contracts.root / "contracts/library/books/v1"
    with (folder / "__init__.py").open("a", encoding="utf-8") as init:
        init.write("Book = BookLent\n")
    (folder / "books_pb2.pyi").unlink()

    said = problems(contracts)

    assert "run `make contracts`" in said
    assert "contracts/library/books/v1/__init__.py differs" in said
    assert "contracts/library/books/v1/books_pb2.pyi is missing" in said


def test_without_contracts_the_platform_passes_its_check(
    contracts: Workspace, write: Write
) -> None:
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*"]\n')

    check(Workspace(contracts.root))


def test_when_all_contracts_are_deleted_others_may_be_released(
    contracts: Workspace, write: Write
) -> None:
    release(contracts)
    (contracts.root / BOOKS).unlink()
    # The generated code still exists.
    assert "The contracts break released ones" in problems(contracts)
    shutil.rmtree(contracts.root / "contracts/library")
    contracts = Workspace(contracts.root)
    check(contracts)

    release(contracts)

    write("contracts/depot/v1/books.proto", SERVICE.replace("library.books.v1", "depot.v1"))
    generate(contracts)
    check(Workspace(contracts.root))
