"""The public names of each module: those in its `__all__`."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

import chassis

pytestmark = pytest.mark.unit

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(chassis.__path__, "chassis.")
    if ".migrations" not in module.name and not module.name.endswith("__main__")
)


def test_chassis_shows_what_a_service_author_needs_and_nothing_else() -> None:
    assert {name for name in dir(chassis) if not name.startswith("_")} == set(chassis.__all__)
    for name in chassis.__all__:
        assert getattr(chassis, name).__name__ == name
    with pytest.raises(AttributeError, match="chassis' has no attribute 'Servise'"):
        chassis.Servise  # noqa: B018


def test_each_module_lists_its_public_names() -> None:
    problems = [problem for name in MODULES for problem in _problems(name)]
    assert problems == [], "\n".join(problems)


def _problems(name: str) -> Iterator[str]:
    module = import_module(name)
    public = getattr(module, "__all__", None)
    if public is None:
        for member, value in vars(module).items():
            if not member.startswith("_") and getattr(value, "__module__", None) == name:
                yield f"{name} defines {member} and has no __all__"
    else:
        for member in public:
            if not hasattr(module, member):
                yield f"{name} has {member} in __all__ and does not define it"
