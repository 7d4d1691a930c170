"""The test service as a process."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from localservers import free_port

__all__ = ["Stall"]

_TESTS = Path(__file__).parent.parent
# Made once: httpx would read every certificate of this machine for each client.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Stall:
    """`python -m bookstall` with a folder, ports and settings of its own."""

    def __init__(
        self, folder: Path, *, module: str = "bookstall", nats_url: str = "", **settings: str
    ) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        folder.mkdir(exist_ok=True)
        self.log = folder / "stall.log"
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
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the process to its end."""
        return subprocess.run(
            [sys.executable, "-m", self.module, *arguments],
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=200,
        )

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

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
        self.process.wait()

    def signal(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def hold(self, *names: str) -> None:
        """From now on "wrapping", each "call" or each "request" does not end."""
        self._holds.mkdir(exist_ok=True)
        for name in names:
            (self._holds / name).touch()

    def release(self, name: str) -> None:
        (self._holds / name).unlink()

    async def ended(self, seconds: float = 100) -> int:
        """Its exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, seconds)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"event": line})
        return found

    def said(self) -> list[str]:
        """The events it has logged."""
        return [line["event"] for line in self.lines()]

    async def says(self, event: str, seconds: float = 100, **values: object) -> None:
        """Wait until it has logged this event with these values."""
        expected = {"event": event, **values}.items()
        ends_at = time.monotonic() + seconds
        while not any(expected <= line.items() for line in self.lines()):
            assert time.monotonic() < ends_at, (
                f"not said: {expected}\n{self.log.read_text(encoding='utf-8')}"
            )
            await asyncio.sleep(0.05)

    async def get(self, path: str) -> httpx.Response | None:
        """The answer, or None if nobody is there."""
        async with httpx.AsyncClient(verify=_NO_TLS) as client:
            try:
                return await client.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=20)
            except httpx.ConnectError:
                return None

    async def ready(self, seconds: float = 100) -> None:
        """Wait until it is ready, its broker found."""
        ends_at = time.monotonic() + seconds
        while (await self.answers("/readyz", 200, seconds)).json()["status"] != "ready":
            assert time.monotonic() < ends_at, self.log.read_text(encoding="utf-8")
            await asyncio.sleep(0.05)

    async def answers(self, path: str, status: int, seconds: float = 100) -> httpx.Response:
        """Wait until it answers so."""
        ends_at = time.monotonic() + seconds
        while True:
            answer = await self.get(path)
            if answer is not None and answer.status_code == status:
                return answer
            assert time.monotonic() < ends_at, (
                f"{path}: {answer and answer.text}\n{self.log.read_text(encoding='utf-8')}"
            )
            await asyncio.sleep(0.05)
