"""Updates and deletions that are built once and run often, which go to the driver as text.

SQLAlchemy's own cache spares it the text of such a statement, but it copies and processes the
parameters of each call, which costs as much as the rest of a small statement.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Delete, Update
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Values", "prebuilt_text"]

Values = tuple[Any, ...] | Mapping[str, Any]
"""The values of a text's parameters, as the driver takes them."""


class _Parameter(NamedTuple):
    """A parameter of a text. Without a `key` in the calls it has the statement's own `value`."""

    name: str
    key: str | None
    value: Any


class _Text(NamedTuple):
    """The text of a statement for one dialect."""

    text: str
    keys: frozenset[str]
    """The parameters that each call must give, no more and no less."""
    parameters: Sequence[_Parameter]
    positional: bool


# A statement that ran once has no texts yet, and one that must go SQLAlchemy's way has None.
_texts: "WeakKeyDictionary[Update | Delete, dict[str, _Text | None]]" = WeakKeyDictionary()


def prebuilt_text(
    dialect: Dialect, statement: Update | Delete, given: Mapping[str, Any]
) -> tuple[str, Values] | None:
    """Return text and values of a statement that has run before; None if it must go SQLAlchemy's
    way.

    That is the way of each first call, because the text is of no use to a statement that each call
    builds again.
    """
    texts = _texts.get(statement)
    if texts is None:
        _texts[statement] = {}
        return None
    if dialect.name not in texts:
        texts[dialect.name] = _text_of(statement, dialect, frozenset(given))
    text = texts[dialect.name]
    if text is None or given.keys() != text.keys:
        return None
    if text.positional:
        values = [p.value if p.key is None else given[p.key] for p in text.parameters]
        return text.text, tuple(values)
    named = {p.name: p.value if p.key is None else given[p.key] for p in text.parameters}
    return text.text, named


def _text_of(statement: Update | Delete, dialect: Dialect, keys: frozenset[str]) -> _Text | None:
    """Return the text of a statement; None if SQLAlchemy does more than to send it."""
    try:
        compiled = statement.compile(dialect=dialect, column_keys=sorted(keys))
    except SQLAlchemyError:  # The caller gets this error from SQLAlchemy.
        return None
    assert isinstance(compiled, SQLCompiler)
    does_more = (
        compiled.effective_returning
        or compiled.prefetch
        or compiled.post_compile_params
        or compiled.literal_execute_params
        or compiled.escaped_bind_names
        or statement.get_execution_options()
    )
    if does_more:
        return None
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    parameters: list[_Parameter] = []
    for name in compiled.positiontup or binds if compiled.positional else binds:
        bind = binds[name]
        key = bind.key if bind.key in keys else None
        missing = key is None and bind.required
        if missing or bind.callable or bind.type.dialect_impl(dialect).bind_processor(dialect):
            return None
        parameters.append(_Parameter(name, key, bind.value))
    if {p.key for p in parameters if p.key is not None} != keys:
        return None
    return _Text(compiled.string, keys, parameters, compiled.positional)
