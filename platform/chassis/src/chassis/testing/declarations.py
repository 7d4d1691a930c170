"""Checks in a service's own tests that it declares what it uses."""

from typing import TYPE_CHECKING

from chassis.checks import find_problems
from chassis.parameters import DeclarationError
from chassis.source_use import undeclared_use

if TYPE_CHECKING:
    from chassis.service import Service
    from chassis.settings import ServiceSettings

__all__ = ["check_declarations"]


def check_declarations(service: "Service", settings: "ServiceSettings | None" = None) -> None:
    """Check that the service would start, and that its source uses nothing undeclared.

    `settings` are needed where the settings' type has one without a default.

    Raises:
        DeclarationError: a line for each thing that is wrong, and where to put it right.
    """
    settings = settings or service.settings_type()
    if lines := [*find_problems(service, settings), *undeclared_use(service)]:
        raise DeclarationError("\n".join(lines))
