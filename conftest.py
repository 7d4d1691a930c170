"""For all tests of the workspace."""

import gc
import importlib
import os
import platform
from contextlib import suppress

import structlog

# pytest names a test's module by its path (platform.chassis.tests…) and would put a module of its
# own in the place of the standard library's `platform`, unless that one looks like a package.
platform.__path__ = []

# For the same reason demo/tests would become the package `demo`, were the real one not there first.
# Without the shop there is none.
with suppress(ModuleNotFoundError):
    importlib.import_module("demo")

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


def pytest_unconfigure() -> None:
    # hypothesis counts the time of garbage collections to the very end, which keeps what duckdb
    # has from being freed; and duckdb complains of it at length.
    gc.callbacks.clear()
