import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from chassis.events.wire.contracts import (
    ContractError,
    event_type,
    partition_key_field,
    source_service,
    stream_of,
    subject_of,
    subjects_of,
)
from slipway.v1 import partition_key

pytestmark = pytest.mark.unit

Field = descriptor_pb2.FieldDescriptorProto


def message(name: str, key: str | None) -> type[Message]:
    """Return a message type with fields of several kinds whose option names `key`."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"library/loans/v1/{name}.proto",
        package="library.loans.v1",
        syntax="proto3",
        dependency=["slipway/v1/options.proto"],
    )
    made = file.message_type.add(name=name)
    made.field.add(name="book_id", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    made.field.add(name="count", number=2, type=Field.TYPE_INT32, label=Field.LABEL_OPTIONAL)
    made.field.add(name="raw", number=3, type=Field.TYPE_BYTES, label=Field.LABEL_OPTIONAL)
    made.field.add(name="tags", number=4, type=Field.TYPE_STRING, label=Field.LABEL_REPEATED)
    if key is not None:
        made.options.Extensions[partition_key] = key
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"library.loans.v1.{name}"))


def test_an_events_type_is_its_full_name_and_its_key_the_field_of_the_option() -> None:
    lent = message("BookLent", "book_id")
    assert event_type(lent) == "library.loans.v1.BookLent"
    assert partition_key_field(lent) == "book_id"


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("NoOption", None, "has no partition key: add `option"),
        ("EmptyOption", "", "has no partition key: add `option"),
        ("NoField", "isbn", "has no field 'isbn'"),
        ("Number", "count", "must be a single string"),
        ("Bytes", "raw", "must be a single string"),
        ("Many", "tags", "must be a single string"),
    ],
)
def test_the_error_for_an_unsuitable_contract_says_what_to_change(
    name: str, key: str | None, says: str
) -> None:
    with pytest.raises(ContractError, match=says) as raised:
        partition_key_field(message(name, key))
    assert f"library.loans.v1.{name}" in str(raised.value)
    assert f"library/loans/v1/{name}.proto" in str(raised.value)


def test_a_types_subjects_are_its_name_and_a_lane() -> None:
    assert subject_of("library.loans.v1.BookLent", 7) == "library.loans.v1.BookLent.7"
    assert subjects_of("library.loans.v1.BookLent") == "library.loans.v1.BookLent.*"


def test_a_types_service_is_its_packages_last_part_before_the_version() -> None:
    assert source_service("shop.orders.v1.OrderPlaced") == "orders"
    assert source_service("bookstore.v1.BookSold") == "bookstore"
    assert stream_of("orders") == "orders"


@pytest.mark.parametrize("type", ["", "OrderPlaced", "v1.OrderPlaced", "shop..v1.OrderPlaced"])
def test_a_type_without_a_service_is_refused(type: str) -> None:
    with pytest.raises(ContractError, match="names no service"):
        source_service(type)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "é", "a/b"])
def test_a_service_name_that_a_stream_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="cannot be named"):
        stream_of(name)
