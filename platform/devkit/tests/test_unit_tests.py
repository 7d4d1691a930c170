"""Tests marked `unit` start nothing: the hook in the workspace's conftest.py refuses it."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable

import grpc
import pytest

pytestmark = pytest.mark.unit


async def _start_a_process() -> None:
    await asyncio.create_subprocess_exec(sys.executable, "--version")


async def _serve_grpc() -> None:
    grpc.aio.server()


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run([sys.executable, "--version"], check=True),
        lambda: asyncio.run(_start_a_process()),
        lambda: asyncio.run(_serve_grpc()),
        lambda: socket.create_server(("127.0.0.1", 0)),
        lambda: socket.create_connection(("127.0.0.1", 9)),
    ],
    ids=["process", "asyncio process", "gRPC server", "port", "connection"],
)
def test_a_unit_test_that_starts_something_fails(start: Callable[[], object]) -> None:
    with pytest.raises(pytest.fail.Exception, match="marked `unit`"):
        start()
