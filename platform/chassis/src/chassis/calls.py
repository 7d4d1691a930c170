"""Calls of other services, as a service declares them and as its functions ask for them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor

__all__ = ["Call", "StubOf", "no_stub", "undeclared_call"]

StubOf: TypeAlias = Callable[[ServiceDescriptor, Callable[..., Any]], Any]
"""A function that returns the stub of a contract; it raises LookupError if there is none."""


@dataclass(frozen=True)
class Call:
    """A contract that is called, and the class of its stub."""

    contract: ServiceDescriptor
    stub: Callable[..., Any]


def no_stub(contract: ServiceDescriptor, stub: Callable[..., Any]) -> Any:
    """Raise LookupError: there are no stubs."""
    raise LookupError(f"there is no stub of {contract.full_name} here")


def undeclared_call(
    contract: ServiceDescriptor, calls: Collection[ServiceDescriptor], service: str
) -> str | None:
    """Return what to change if `calls` lacks the contract, None if the call is declared."""
    if any(contract.full_name == declared.full_name for declared in calls):
        return None
    return f"calls {contract.full_name}; add it to calls=[...] of {service}"
