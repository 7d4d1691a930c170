"""What a function calls by the annotations of its parameters, whatever it is called for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, get_type_hints

from google.protobuf.descriptor import ServiceDescriptor

__all__ = ["Call", "StubOf", "hints_of", "no_stub", "undeclared"]

StubOf: TypeAlias = Callable[[ServiceDescriptor, Callable[..., Any]], Any]
"""Gives the stub of a contract; LookupError if there is none."""


@dataclass(frozen=True)
class Call:
    """A contract that is called, and the class of its stub."""

    contract: ServiceDescriptor
    stub: Callable[..., Any]


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function; of a parameter that takes a stub, its Call."""
    plain = get_type_hints(function)
    annotated = get_type_hints(function, include_extras=True)
    return {name: _call(annotated[name]) or hint for name, hint in plain.items()}


def _call(hint: Any) -> Call | None:
    for extra in getattr(hint, "__metadata__", ()):
        # Depends(client(...)), as FastAPI has it, or without its Depends.
        call = getattr(extra, "dependency", extra)
        if isinstance(call, Call):
            return call
    return None


def no_stub(contract: ServiceDescriptor, stub: Callable[..., Any]) -> Any:
    """For functions that call nobody."""
    raise LookupError(f"there is no stub of {contract.full_name} here")


def undeclared(contract: str, service: str) -> str:
    """What is wrong with a call that the service does not declare."""
    return f"calls {contract}; add it to calls=[...] of {service}"
