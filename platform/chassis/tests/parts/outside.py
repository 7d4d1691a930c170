"""An external HTTP server, which async handlers call."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx

__all__ = ["Outside"]


class Outside:
    """A server that counts requests by their Idempotency-Key, and can be slow or fail."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.failures = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        outside = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outside.asked[self.headers["Idempotency-Key"]] += 1
                outside.may_answer.wait(30)
                failing = outside.failures > 0
                outside.failures -= failing
                self.send_response(503 if failing else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    async def ask(self, key: str) -> None:
        """Call the server, as a handler does.

        Raises:
            httpx.HTTPError: the server failed.
        """
        async with httpx.AsyncClient(verify=False, trust_env=False) as client:
            answer = await client.post(self.url, headers={"Idempotency-Key": key})
            answer.raise_for_status()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
