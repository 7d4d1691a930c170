"""For all tests of the workspace."""

import platform

# pytest names a test's module by its path (platform.chassis.tests…) and would put a module of its
# own in the place of the standard library's `platform`, unless that one looks like a package.
platform.__path__ = []  # type: ignore[attr-defined]
