"""Set-up of the tests over all services: their shared parts, and the groups of their modules.

The tests of the group "shop" use one platform that they leave unchanged. Those of "restarts" start
and kill whole platforms, which must not happen concurrently. A group runs in one process; because
groups are larger than single tests, they start first and don't prolong the run at its end.
"""

import re
import sys
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parent / "parts"))
_CHASSIS = Path(__file__).parents[1] / "platform/chassis/tests"
sys.path += [str(_CHASSIS / "parts"), str(_CHASSIS / "contracts")]

_GROUP = re.compile(r'xdist_group\("([^"]+)"\)')


class _GroupOfModuleScheduling(LoadGroupScheduling):  # type: ignore[misc]
    """Scheduling that runs all tests of an xdist group in one process, one after the other.

    pytest-xdist appends the group to a test's id, which pytest 9.2 prevents. This class reads the
    group from the source of the module, which is marked as a whole.
    """

    def _split_scope(self, nodeid: str) -> str:
        group = _group(Path(self.config.rootpath) / nodeid.split("::")[0])
        return group or nodeid


@cache
def _group(module: Path) -> str | None:
    found = _GROUP.search(module.read_text(encoding="utf-8"))
    return found[1] if found else None


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling | None:
    return (
        _GroupOfModuleScheduling(config, log) if config.getoption("dist") == "loadgroup" else None
    )
