"""A client of a debugger, in the Debug Adapter Protocol that editors speak.

The protocol: https://microsoft.github.io/debug-adapter-protocol/specification
"""

import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any

__all__ = ["Debugger", "Frame"]

_SECONDS = 120

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Frame:
    """The place at which a thread has stopped."""

    thread: int
    id: int
    function: str
    line: int


class Debugger:
    """A connection to the debugger of a running program, which continues after it is closed."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=_SECONDS)
        self._stream = self._socket.makefile("rwb")
        self._numbers = count(1)
        self._early: list[Message] = []

    def __enter__(self) -> "Debugger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError, EOFError):
            self._ask("disconnect", terminateDebuggee=False)
        self._stream.close()
        self._socket.close()

    def attach(self, file: str, line: int) -> None:
        """Stop the program whenever it comes to this line; the file is named as the pod has it."""
        self._ask("initialize", clientID="test", adapterID="debugpy", pathFormat="path")
        attached = self._send("attach", justMyCode=False)
        self._event("initialized")
        where = {"source": {"path": file}, "breakpoints": [{"line": line}]}
        (point,) = self._ask("setBreakpoints", **where)["breakpoints"]
        assert point["verified"], point
        self._ask("configurationDone")
        self._answer(attached, "attach")

    def stopped(self) -> Frame:
        """Wait until a thread has stopped."""
        thread = self._event("stopped")["threadId"]
        frame = self._ask("stackTrace", threadId=thread)["stackFrames"][0]
        return Frame(thread, frame["id"], frame["name"], frame["line"])

    def evaluate(self, expression: str, frame: Frame) -> str:
        """Return the value of an expression there, as Python prints it."""
        answer = self._ask("evaluate", expression=expression, frameId=frame.id)
        return str(answer["result"])

    def resume(self, frame: Frame) -> None:
        """Let the thread continue."""
        self._ask("continue", threadId=frame.thread)

    def _ask(self, command: str, **arguments: object) -> Mapping[str, Any]:
        return self._answer(self._send(command, **arguments), command)

    def _send(self, command: str, **arguments: object) -> int:
        number = next(self._numbers)
        request = {"seq": number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        self._stream.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._stream.flush()
        return number

    def _answer(self, number: int, command: str) -> Mapping[str, Any]:
        answer = self._next(lambda each: each.get("request_seq") == number)
        assert answer["success"], f"{command}: {answer.get('message')}"
        return _body(answer)

    def _event(self, name: str) -> Mapping[str, Any]:
        return _body(self._next(lambda each: each.get("event") == name))

    def _next(self, wanted: Callable[[Message], bool]) -> Message:
        """Return the next message of this kind; keep others that arrive before it."""
        for index, message in enumerate(self._early):
            if wanted(message):
                return self._early.pop(index)
        while not wanted(message := self._read()):
            self._early.append(message)
        return message

    def _read(self) -> Message:
        length = 0
        while line := self._stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise EOFError("the debugger has hung up")
        message: Message = json.loads(self._stream.read(length))
        return message


def _body(message: Message) -> Mapping[str, Any]:
    body: Mapping[str, Any] = message.get("body") or {}
    return body
