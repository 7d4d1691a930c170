"""Undeclared events and calls in the source of a service, found without running it.

Stubs of contracts are found by their names, events by the calls that create them. An event that
another package creates, and the service only passes to `publish`, is refused when it is published.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from chassis.calls import undeclared_call
from chassis.events.wire.contracts import ContractError, event_type, source_service
from slipway.v1 import partition_key

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["undeclared_use"]

_STUB = "Stub"


@cache
def undeclared_use(service: "Service") -> tuple[str, ...]:
    """Return each undeclared use in the service's package, with its file and first line."""
    lines = []
    for file in _sources(service):
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        first: dict[str, int] = {}
        for line, what in _uses(tree, _imported(tree), service):
            first[what] = min(line, first.get(what, line))
        place = f"{file.parent.name}/{file.name}"
        lines += [f"{place}:{line}: {what}" for what, line in first.items()]
    return tuple(lines)


def _sources(service: "Service") -> list[Path]:
    """Return the files of the package that contains the settings; none if it is one module."""
    name = service.settings_type.__module__.partition(".")[0]
    package = import_module(name)
    if name == __name__.partition(".")[0] or not hasattr(package, "__path__"):
        return []
    return sorted(file for folder in package.__path__ for file in Path(folder).rglob("*.py"))


def _uses(
    tree: ast.Module, names: dict[str, tuple[str, str]], service: "Service"
) -> Iterator[tuple[int, str]]:
    """Yield the line and the description of each undeclared use in a file."""
    published = {event_type(message) for message in service.publishes}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and _last_name(node).endswith(_STUB):
            contract = _contract(_resolve(node, names))
            if contract is not None:
                problem = undeclared_call(contract, service.calls, service.name)
                if problem:
                    yield node.lineno, problem
        if isinstance(node, ast.Call):
            type = _event_type(_class_of(node, names, service))
            if type is not None and type not in published:
                yield node.lineno, f"publishes {type}; add it to publishes=[...] of {service.name}"


def _class_of(node: ast.Call, names: dict[str, tuple[str, str]], service: "Service") -> object:
    """Return the class of an object that is created: any class in a call of `publish`, elsewhere an
    event of this service."""
    if _last_name(node.func) == "publish" and node.args and isinstance(node.args[0], ast.Call):
        # The inner call is visited too, which finds events of this service.
        created = _resolve(node.args[0].func, names)
        return None if _is_of_service(created, service) else created
    created = _resolve(node.func, names)
    return created if _is_of_service(created, service) else None


def _is_of_service(thing: object, service: "Service") -> bool:
    """Return whether this is the class of an event of the service's package."""
    type = _event_type(thing)
    try:
        return type is not None and source_service(type) == service.name
    except ContractError:
        return False


def _event_type(thing: object) -> str | None:
    """Return the type of an event if this is the class of one."""
    if not (isinstance(thing, type) and issubclass(thing, Message)):
        return None
    return event_type(thing) if thing.DESCRIPTOR.GetOptions().Extensions[partition_key] else None


def _contract(thing: object) -> ServiceDescriptor | None:
    """Return the contract if this is the class of a generated stub."""
    if not isinstance(thing, type) or not thing.__module__.endswith("_pb2_grpc"):
        return None
    messages = import_module(thing.__module__.removesuffix("_grpc"))
    name = thing.__name__.removesuffix(_STUB)
    found: ServiceDescriptor | None = messages.DESCRIPTOR.services_by_name.get(name)
    return found


def _imported(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Return what a file imports by the names it uses: the module, and the attribute unless it is
    the module itself."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = (alias.name if alias.asname else root, "")
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = (node.module, alias.name)
    return names


def _resolve(node: ast.expr, names: dict[str, tuple[str, str]]) -> Any:
    """Return the object that a dotted name refers to, None if it is not imported."""
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(node.value, names), node.attr, None)
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    module, attribute = names[node.id]
    try:
        found = import_module(module)
        return getattr(found, attribute, None) if attribute else found
    except Exception:  # Some modules can only be imported by a type checker.
        return None


def _last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name; empty if the expression is not a name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
