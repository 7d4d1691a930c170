"""Event types as an operator names them."""

from chassis.operations.command_line.operator import Operator, WrongUsage
from chassis.operations.events import EventRows

__all__ = ["find_types"]


def find_types(operator: Operator, rows: EventRows, name: str) -> list[str]:
    """Return the type with this full name or last part; every type for `all`.

    A type counts if the service handles it, or has handled it before.

    Raises:
        WrongUsage: there is no such type, or more than one.
    """
    types = sorted({*operator.handled_types, *rows.types, *rows.paused})
    if name == "all":
        return types
    found = [type for type in types if type == name or type.endswith(f".{name}")]
    if len(found) != 1:
        said = "is more than one type" if found else "is not a type of this service"
        raise WrongUsage(f"{name} {said}; there are: {', '.join(found or types) or 'none'}")
    return found
