"""Descriptions of a service's settings, read from their type."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from devkit.describing.description import Setting

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from chassis import Service

__all__ = ["settings_of"]


def settings_of(service: "Service") -> Iterator[Setting]:
    """Yield each setting in the order of the class, those of the chassis first."""
    from chassis.settings import PREFIX

    for name, field in service.settings_type.model_fields.items():
        secret = _is_secret(field.annotation)
        variable = PREFIX + name.upper()
        yield Setting(
            variable=variable,
            type=_type_in_words(field.annotation),
            default=None if secret else _default(field),
            required=_required(service, name, field, secret=secret),
            secret=secret,
            description=field.description or "",
        )


def _required(service: "Service", name: str, field: "FieldInfo", *, secret: bool) -> bool:
    """Return whether production must set it: it has no default, or is a secret with one."""
    if name == "database_url":
        return service.has_database
    if field.is_required():
        return True
    default = field.get_default(call_default_factory=True, validated_data={})
    # The chassis refuses a secret's default outside of development.
    return secret and default is not None and bool(default.get_secret_value())


def _default(field: "FieldInfo") -> object:
    """Return a setting's default as JSON can hold it; None if the setting is required."""
    from pydantic import TypeAdapter

    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    kind: Any = field.annotation
    return TypeAdapter(kind).dump_python(value, mode="json")


def _is_secret(annotation: Any) -> bool:
    from pydantic import SecretBytes, SecretStr

    return annotation in (SecretStr, SecretBytes) or any(map(_is_secret, get_args(annotation)))


def _type_in_words(annotation: Any) -> str:
    """Return the type in plain words: `integer`, `one of a, b`, `list of string`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_in_words(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(_type_in_words(each) for each in arguments if each is not NoneType)
    if origin in (list, tuple, set, frozenset):
        inner = dict.fromkeys(_type_in_words(each) for each in arguments if each is not Ellipsis)
        return "list of " + " or ".join(inner)
    if origin is dict:
        return f"map of {_type_in_words(arguments[1])}"
    return _NAMES.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", "any"))


_NAMES = {
    "str": "string",
    "SecretStr": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "Path": "path",
}
