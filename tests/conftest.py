"""For the tests over all services: the parts they share, and which tests share a process.

"shop" are those on one platform that they leave as it was; "restarts" are those that start and kill
whole ones, which must not happen several times at once. A group is bigger than the unit of one test
that all others are, so the groups begin first and none is still at it when all else is done.
"""

import re
import sys
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parent / "parts"))

_GROUP = re.compile(r'xdist_group\("(\w+)"\)')


class _ByModulesGroup(LoadGroupScheduling):  # type: ignore[misc]
    """Tests of modules in one xdist group run in one process, one after the other.

    pytest-xdist writes the group behind a test's id, which pytest 9.2 does not let it. Here it is
    read from the module, which is marked as a whole.
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
    return _ByModulesGroup(config, log) if config.getoption("dist") == "loadgroup" else None
