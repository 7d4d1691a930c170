"""What is public is said by `__all__`; the rest may change."""

import pkgutil
from importlib import import_module

import pytest

import chassis

pytestmark = pytest.mark.unit

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(chassis.__path__, "chassis.")
    if ".migrations" not in module.name
)


def test_chassis_shows_what_a_service_author_needs_and_nothing_else() -> None:
    assert {name for name in dir(chassis) if not name.startswith("_")} == set(chassis.__all__)
    for name in chassis.__all__:
        assert getattr(chassis, name).__name__ == name
    with pytest.raises(AttributeError, match="chassis' has no attribute 'Servise'"):
        chassis.Servise  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_which_of_its_names_are_public(name: str) -> None:
    module = import_module(name)
    if name.endswith("__main__"):
        return
    public = getattr(module, "__all__", None)
    if public is None:
        defined = [
            member
            for member, value in vars(module).items()
            if not member.startswith("_") and getattr(value, "__module__", None) == name
        ]
        assert defined == [], f"{name} defines names and has no __all__"
        return
    assert [entry for entry in public if not hasattr(module, entry)] == []
