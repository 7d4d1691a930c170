"""Tools for a service's tests: a harness for event handlers and a check of declarations."""

from chassis.testing.declarations import check_declarations
from chassis.testing.harness import HandlerHarness

__all__ = ["HandlerHarness", "check_declarations"]
