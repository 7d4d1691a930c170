"""A check for a service's tests: it declares everything that it uses."""

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

    `settings` are required if the type of the settings has fields without a default.

    Raises:
        DeclarationError: has a line for each problem, with the place to fix it.
    """
    settings = settings or service.settings_type()
    if lines := [*find_problems(service, settings), *undeclared_use(service)]:
        raise DeclarationError("\n".join(lines))
