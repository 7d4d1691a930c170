"""An edit of a YAML file changes one value and nothing else."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from devkit.canary.yaml_edit import CannotEdit, get_value, set_value

pytestmark = pytest.mark.unit

TEXT = """\
# The images that run in production.
global:
  image:
    registry: registry.example.com/platform   # ours
    tag: 0.1.0

orders:   # by the team of orders
  settings: {APP_LOG_LEVEL: DEBUG}  # for a while
  canary:
    image: {tag: "1.2"}

    weight: 5
# The end.
"""


def test_a_value_is_replaced_where_it_stands() -> None:
    edited = set_value(TEXT, ("orders", "canary", "weight"), 25)
    assert edited == TEXT.replace("weight: 5", "weight: 25")


def test_a_quoted_value_inside_braces_is_replaced() -> None:
    edited = set_value(TEXT, ("orders", "canary", "image", "tag"), "1.3.0")
    assert edited == TEXT.replace('{tag: "1.2"}', "{tag: 1.3.0}")


def test_a_missing_key_is_added_at_the_end_of_its_table_and_before_the_comment_behind_it() -> None:
    edited = set_value(TEXT, ("orders", "canary", "replicas"), 2)
    assert edited == TEXT.replace("    weight: 5\n", "    weight: 5\n    replicas: 2\n")


def test_a_missing_key_is_added_inside_braces() -> None:
    edited = set_value(TEXT, ("orders", "canary", "image", "digest"), "sha256:ab")
    assert edited == TEXT.replace('{tag: "1.2"}', '{tag: "1.2", digest: "sha256:ab"}')


def test_tables_that_are_missing_are_added() -> None:
    edited = set_value(TEXT, ("gateway", "canary", "weight"), 10)
    added = "gateway:\n  canary:\n    weight: 10\n"
    assert edited == TEXT.replace("    weight: 5\n", f"    weight: 5\n{added}")


@pytest.mark.parametrize("nothing", ["", " ~", " null"])
def test_a_key_without_a_value_gets_one(nothing: str) -> None:
    text = f"orders:\n  canary:{nothing}  # none yet\nlast: 1\n"
    edited = set_value(text, ("orders", "canary", "weight"), 5)
    assert edited == "orders:\n  canary: {weight: 5}  # none yet\nlast: 1\n"


@pytest.mark.parametrize("text", ["", "# Only a comment.\n"])
def test_a_file_without_values_gets_the_first_one(text: str) -> None:
    edited = set_value(text, ("canary", "image", "tag"), "v2")
    assert edited.startswith(text)
    assert yaml.safe_load(edited) == {"canary": {"image": {"tag": "v2"}}}


@pytest.mark.parametrize("tag", ["42", "1.10", "1e3", "null", "yes", "2026-11-26", "0x1f", "~", ""])
def test_a_tag_that_yaml_would_read_as_something_else_is_quoted(tag: str) -> None:
    edited = set_value("canary: {}\n", ("canary", "tag"), tag)
    assert yaml.safe_load(edited) == {"canary": {"tag": tag}}


def test_an_alias_is_not_edited_because_it_stands_for_another_place() -> None:
    text = "base: &base {weight: 1}\norders: *base\n"
    with pytest.raises(CannotEdit, match="orders is an alias"):
        set_value(text, ("orders", "weight"), 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "no table of values"),
        ("orders: [a]\n", "orders is not a table of values"),
        ("orders: {weight: {a: 1}}\n", "orders.weight is not a single value"),
        ("orders: {\n", "not YAML"),
    ],
)
def test_what_cannot_be_edited_is_said(text: str, said: str) -> None:
    with pytest.raises(CannotEdit, match=said):
        set_value(text, ("orders", "weight"), 5)


KEYS = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.integers(0, 100), st.text("xyz0.1 #:'\"", max_size=5), st.none())
TABLES = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3),
    lambda inner: st.dictionaries(KEYS, st.one_of(inner, SCALARS), max_size=3),
    max_leaves=8,
)


@given(table=TABLES, path=st.lists(KEYS, min_size=1, max_size=3), flow=st.booleans())
def test_the_value_is_read_back_and_all_others_remain(
    table: dict[str, object], path: list[str], flow: bool
) -> None:
    text = yaml.safe_dump(table, default_flow_style=flow, sort_keys=False)
    try:
        edited = set_value(text, path, "1.3.0")
    except CannotEdit:
        return
    assert get_value(edited, path) == "1.3.0"
    expected = table
    for key in path[:-1]:
        if expected.get(key) is None:
            expected[key] = {}
        expected = expected[key]  # type: ignore[assignment]
    expected[path[-1]] = "1.3.0"
    assert yaml.safe_load(edited) == table


@pytest.mark.parametrize(
    "tag", ["1e5", "12e4567", "0o17", "1_000", "123", "1.10", "true", "n", "~"]
)
def test_a_tag_that_another_reader_may_take_for_a_number_or_a_boolean_is_quoted(tag: str) -> None:
    assert set_value("", ("tag",), tag) == f'tag: "{tag}"\n'


@pytest.mark.parametrize("tag", ["v1.3.0-rc.1", "main", "a1b2c3d"])
def test_a_tag_that_every_reader_takes_for_a_text_is_written_plainly(tag: str) -> None:
    assert set_value("", ("tag",), tag) == f"tag: {tag}\n"
