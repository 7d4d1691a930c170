"""Which services a change restarts, and how long a dying one waits."""

from pathlib import Path

import pytest

from devkit.services import ServiceDefinition
from devkit.supervisor import back_off_seconds
from devkit.watch import affected

ROOT = Path("/workspace")
SHARED = [ROOT / "platform/chassis/src", ROOT / "contracts"]


def service(name: str) -> ServiceDefinition:
    source = ROOT / f"services/{name}/src"
    return ServiceDefinition(name, name, source, 1, None, {}, False)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["services/lending/src/lending/rpc.py"], ["lending"]),
        (["services/lending/src/a.py", "services/shelves/src/b.py"], ["lending", "shelves"]),
        (["platform/chassis/src/chassis/errors.py"], ["lending", "shelves"]),
        (["contracts/library/v1/__init__.py"], ["lending", "shelves"]),
        (["services/lending/tests/test_it.py"], []),
        (["services/lending2/src/lending2/rpc.py"], []),
    ],
)
def test_a_change_restarts_those_that_import_it(files: list[str], names: list[str]) -> None:
    services = [service("lending"), service("shelves")]

    assert affected([ROOT / file for file in files], SHARED, services) == names


def test_the_wait_doubles_up_to_a_limit() -> None:
    assert [back_off_seconds(failures) for failures in range(1, 8)] == [
        0.25,
        0.5,
        1,
        2,
        4,
        8,
        10,
    ]
    assert back_off_seconds(100_000) == 10
