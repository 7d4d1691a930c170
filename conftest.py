"""For all tests of the workspace."""

import atexit
import gc
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import grpc
import hypothesis
import pytest
import structlog
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from localservers.memory_folder import memory_folder

# pytest names a test's module by its path (platform.chassis.tests…) and would put a module of its
# own in the place of the standard library's `platform`, unless that one looks like a package.
platform.__path__ = []

# For the same reason demo/tests would become the package `demo`, were the real one not there first.
# Without the shop there is none. The same is true of bench/tests.
for name in ("demo", "bench"):
    with suppress(ModuleNotFoundError):
        importlib.import_module(name)

# Everything that a test talks to is on this machine.
for name in list(os.environ):
    if name.lower() in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        del os.environ[name]

# A process that has configured nothing draws each traceback with its locals, which takes half a
# second of the event loop: on a busy machine, tests of failing handlers wait for nothing else.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


# Each test has databases of its own, and SQLAlchemy would compile every statement again for each
# connection to a new one. A process of a service compiles a statement once, and so do the tests.
_compiled: dict[Any, Any] = {}
for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
    # The key of a compiled statement includes its dialect, of which each engine has an object.
    dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]


@event.listens_for(Engine, "engine_connect")
def _share_compiled_statements(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)


# No example is too slow, because time says nothing on a machine that is shared with other tests.
hypothesis.settings.register_profile(
    "shared machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared machine")


# Until the tests run, the garbage collector would visit more and more modules and find no garbage.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Let the garbage collector visit what tests make, and nothing that was imported before."""
    gc.enable()
    gc.freeze()
    # Frozen objects are not freed at the end. pytest collects garbage several times before, to
    # warn of what tests have left, for which it need not visit what was imported.
    atexit.register(gc.unfreeze)


def pytest_unconfigure() -> None:
    # hypothesis counts the time of garbage collections to the very end, which keeps what duckdb
    # has from being freed; and duckdb complains of it at length.
    gc.callbacks.clear()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three processes for each core, since most tests wait for servers most of the time."""
    return min(3 * (os.cpu_count() or 1), 16)


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for databases of PostgreSQL: in memory, where there is room for them."""
    with memory_folder(tmp_path_factory.mktemp("databases")) as folder:
        yield folder


# Audit events of Python, and a name for what gRPC does in C, which is not audited.
_GRPC_SERVER = "grpc.aio.server"
_STARTS = {
    "os.fork",
    "os.posix_spawn",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
    _GRPC_SERVER,
}
_unit_test_runs = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Fail a test marked `unit` that starts a process, opens a port or connects to one."""
    global _unit_test_runs
    _unit_test_runs = "unit" in item.keywords and "twin" not in item.keywords
    if _unit_test_runs:
        _audit()
    try:
        return (yield)
    finally:
        _unit_test_runs = False


@cache
def _audit() -> None:
    """Install the hook before the first unit test, because every audit event costs a call."""
    start_grpc_server = grpc.aio.server

    def audited(*arguments: Any, **options: Any) -> grpc.aio.Server:
        sys.audit(_GRPC_SERVER)
        return start_grpc_server(*arguments, **options)

    grpc.aio.server = audited
    sys.addaudithook(_refuse_start)


def _refuse_start(event: str, _: tuple[Any, ...]) -> None:
    # Other threads are ignored, because an earlier test may have left one running.
    if _unit_test_runs and event in _STARTS and current_thread() is main_thread():
        pytest.fail(f"{event}: a test marked `unit` may not start a process or use the network")
