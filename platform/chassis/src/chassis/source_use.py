"""What the source of a service publishes and calls beyond what it declares.

Found without running it: stubs of contracts by their names, wherever they are used, and events by
where they are made. An event that is made elsewhere and only handed to `publish` is found when it
is published.
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
    """What each file of the service's package uses undeclared, with the first line that does."""
    lines = []
    for file in _sources(service):
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        first: dict[str, int] = {}
        for line, what in _found(tree, _imported(tree), service):
            first[what] = min(line, first.get(what, line))
        place = f"{file.parent.name}/{file.name}"
        lines += [f"{place}:{line}: {what}" for what, line in first.items()]
    return tuple(lines)


def _sources(service: "Service") -> list[Path]:
    """The files of the package that its settings are in; none for one of a single module."""
    name = service.settings_type.__module__.partition(".")[0]
    package = import_module(name)
    if name == __name__.partition(".")[0] or not hasattr(package, "__path__"):
        return []
    return sorted(file for folder in package.__path__ for file in Path(folder).rglob("*.py"))


def _found(
    tree: ast.Module, names: dict[str, tuple[str, str]], service: "Service"
) -> Iterator[tuple[int, str]]:
    published = {event_type(message) for message in service.publishes}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and _last(node).endswith(_STUB):
            contract = _contract(_resolve(node, names))
            if contract is not None:
                problem = undeclared_call(contract, service.calls, service.name)
                if problem:
                    yield node.lineno, problem
        if isinstance(node, ast.Call):
            type = _event(_made(node, names, service))
            if type is not None and type not in published:
                yield node.lineno, f"publishes {type}; add it to publishes=[...] of {service.name}"


def _made(node: ast.Call, names: dict[str, tuple[str, str]], service: "Service") -> object:
    """What is given to `publish`, or made at all if it is of the service's own package."""
    if _last(node.func) == "publish" and node.args and isinstance(node.args[0], ast.Call):
        # The same call is walked over too: only a foreign event is told of here.
        made = _resolve(node.args[0].func, names)
        return None if _is_own(made, service) else made
    made = _resolve(node.func, names)
    return made if _is_own(made, service) else None


def _is_own(thing: object, service: "Service") -> bool:
    type = _event(thing)
    try:
        return type is not None and source_service(type) == service.name
    except ContractError:
        return False


def _event(thing: object) -> str | None:
    """The type of an event, if it is the class of one."""
    if not (isinstance(thing, type) and issubclass(thing, Message)):
        return None
    return event_type(thing) if thing.DESCRIPTOR.GetOptions().Extensions[partition_key] else None


def _contract(thing: object) -> ServiceDescriptor | None:
    """The contract of a generated stub's class."""
    if not isinstance(thing, type) or not thing.__module__.endswith("_pb2_grpc"):
        return None
    messages = import_module(thing.__module__.removesuffix("_grpc"))
    name = thing.__name__.removesuffix(_STUB)
    found: ServiceDescriptor | None = messages.DESCRIPTOR.services_by_name.get(name)
    return found


def _imported(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Module and attribute (none: the module itself) by the names they are used by."""
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
    """What a dotted name stands for; None where that is not an imported thing."""
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(node.value, names), node.attr, None)
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    module, attribute = names[node.id]
    try:
        found = import_module(module)
        return getattr(found, attribute, None) if attribute else found
    except Exception:  # what only a type checker imports, for example
        return None


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
