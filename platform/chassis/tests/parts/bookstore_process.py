"""The test service as a process."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from forked_python import run_module, start_module

from localservers import free_port

__all__ = ["BookstoreProcess"]

_TESTS = Path(__file__).parent.parent
# The context is shared, because httpx would read all certificates of this machine per client.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class BookstoreProcess:
    """A process of `python -m bookstore_service`, with its own folder and ports."""

    def __init__(
        self,
        folder: Path,
        *,
        module: str = "bookstore_service",
        nats_url: str = "",
        **settings: str,
    ) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        folder.mkdir(exist_ok=True)
        self.log = folder / "service.log"
        self._holds = folder / "holds"
        self.module = module
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("APP_")},
            "PYTHONPATH": os.pathsep.join(
                [str(_TESTS / "contracts"), str(_TESTS / "parts"), os.environ.get("PYTHONPATH", "")]
            ),
            "APP_HTTP_PORT": str(self.http_port),
            "APP_GRPC_PORT": str(self.grpc_port),
            "APP_NATS_URL": nats_url or f"nats://127.0.0.1:{free_port()}",
            "APP_DATABASE_URL": f"sqlite:///{folder}/bookstore.db",
            "APP_HOLDS": str(self._holds),
            "APP_HEALTH_INTERVAL_SECONDS": "0.2",
            "APP_MEMBER_TTL_SECONDS": "1",
            **{f"APP_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: ForkServerProcess | None = None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the service and return what it printed."""
        return run_module(self.module, *arguments, environment=self.environment)

    def start(self) -> None:
        self.process = start_module(self.module, environment=self.environment, stdout=self.log)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.join()

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def hold_back(self, *names: str) -> None:
        """Keep work from ending until `release`: "wrapping" (the handler), "call", or "request"."""
        self._holds.mkdir(exist_ok=True)
        for name in names:
            (self._holds / name).touch()

    def release(self, name: str) -> None:
        (self._holds / name).unlink()

    async def wait_for_exit(self, seconds: float = 100) -> int:
        """Wait until the process ends, and return its exit code."""
        assert self.process is not None
        await asyncio.to_thread(self.process.join, seconds)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the lines that the process has logged."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line})
        return found

    def logged_events(self) -> list[str]:
        """Return the events of the lines that the process has logged."""
        return [line["event"] for line in self.log_lines()]

    async def wait_for_log(self, event: str, seconds: float = 100, **values: object) -> None:
        """Wait until the process has logged this event with these values."""
        expected = {"event": event, **values}.items()
        ends_at = time.monotonic() + seconds
        while not any(expected <= line.items() for line in self.log_lines()):
            assert time.monotonic() < ends_at, (
                f"not logged: {expected}\n{self.log.read_text(encoding='utf-8')}"
            )
            await asyncio.sleep(0.05)

    async def get(self, path: str) -> httpx.Response | None:
        """Return the response, None if the connection is refused."""
        async with httpx.AsyncClient(verify=_NO_TLS) as client:
            try:
                return await client.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=20)
            except httpx.ConnectError:
                return None

    async def wait_until_ready(self, seconds: float = 100) -> None:
        """Wait until the service is ready, with its broker connected."""
        ends_at = time.monotonic() + seconds
        while (await self.wait_for_answer("/readyz", 200, seconds)).json()["status"] != "ready":
            assert time.monotonic() < ends_at, self.log.read_text(encoding="utf-8")
            await asyncio.sleep(0.05)

    async def wait_for_answer(self, path: str, status: int, seconds: float = 100) -> httpx.Response:
        """Wait until a GET is answered with this status, and return the response."""
        ends_at = time.monotonic() + seconds
        while True:
            answer = await self.get(path)
            if answer is not None and answer.status_code == status:
                return answer
            assert time.monotonic() < ends_at, (
                f"{path}: {answer and answer.text}\n{self.log.read_text(encoding='utf-8')}"
            )
            await asyncio.sleep(0.05)
