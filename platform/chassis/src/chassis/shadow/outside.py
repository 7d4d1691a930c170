"""The outside of a shadow: calls and connections that its handlers may not make."""

import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from sqlalchemy import Engine, event

from chassis.rpc.client import Clients, target_name

__all__ = ["Outside", "OutsideCall"]

# Audit events of Python for what leaves the process.
_LEAVING = {
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.sendmsg",
    "socket.sendto",
    "subprocess.Popen",
}


# PostgreSQL tells those who listen with the commit, also with that of a read-only transaction.
_NOTIFIES = re.compile(
    r"(?:^|;)(?:\s|--[^\n]*\n|/\*.*?\*/)*notify\s|\bpg_notify\s*\(", re.IGNORECASE | re.DOTALL
)


class OutsideCall(Exception):
    """A handler tried to reach something outside of the shadow, which was not allowed."""


class Outside:
    """The permissions of a shadow's handlers, and the call that they tried nevertheless.

    RPCs that their contract marks as free of side effects are allowed, and all RPCs of the services
    `allowed`.
    """

    def __init__(self, clients: Clients, allowed: Collection[str]) -> None:
        self._clients = clients
        self._allowed = allowed
        self._refused = ""
        _install_hook()

    def stub(self, contract: ServiceDescriptor, stub: Callable[..., Any]) -> Any:
        """Return the stub of a contract whose calls are refused unless they are allowed.

        Raises:
            LookupError: the service does not declare that it calls this contract.
        """
        # The client's own stub checks the declaration; it connects with the first call only.
        self._clients.stub(contract, _nothing)
        return stub(_GuardedChannel(self._clients, contract, self))

    def allows(self, contract: ServiceDescriptor, method: str) -> bool:
        """Return whether an RPC may be called."""
        called: MethodDescriptor | None = contract.methods_by_name.get(method)
        return target_name(contract) in self._allowed or (
            called is not None
            and called.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        )

    def refuse(self, what: str) -> NoReturn:
        """Raise OutsideCall, and remember it even if the handler catches the error."""
        self._refused = self._refused or what
        raise OutsideCall(f"{what} (not allowed in a shadow)")

    def watch(self, engine: Engine) -> None:
        """Refuse the statements of an engine that notify others."""

        @event.listens_for(engine, "before_cursor_execute")
        def on_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if _NOTIFIES.search(statement):
                self.refuse("NOTIFY")

    def take_refused(self) -> str:
        """Return what was refused first since the last call; empty if nothing was."""
        refused, self._refused = self._refused, ""
        return refused

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Refuse, on this thread, every connection and every process that the block starts."""
        _closed_for[threading.get_ident()] = self
        try:
            yield
        finally:
            del _closed_for[threading.get_ident()]


class _GuardedChannel:
    """A channel for generated stubs, whose calls are refused or made by a real client."""

    def __init__(self, clients: Clients, contract: ServiceDescriptor, outside: Outside) -> None:
        self._clients = clients
        self._contract = contract
        self._outside = outside

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return the function that calls a unary RPC; generated stubs ask for it."""
        method = path.rpartition("/")[2]

        async def call(request: Any, **of_call: Any) -> Any:
            if not self._outside.allows(self._contract, method):
                self._outside.refuse(f"call of {self._contract.full_name}.{method}")
            called: Any = self._clients.stub(
                self._contract, lambda channel: channel.unary_unary(path, *arguments, **options)
            )
            return await called(request, **of_call)

        return call

    unary_stream = stream_unary = stream_stream = unary_unary


def _nothing(_channel: object) -> None:
    """Stand for a stub that is never called."""


_closed_for: dict[int, Outside] = {}


@cache
def _install_hook() -> None:
    """Install the hook once, because Python cannot remove it."""
    sys.addaudithook(_refuse_leaving)


def _refuse_leaving(
    event: str,
    _arguments: tuple[Any, ...],
    # The interpreter may call the hook at its very end, when the names of modules are None.
    leaving: Collection[str] = _LEAVING,
    closed_for: Mapping[int, Outside] = _closed_for,
    this_thread: Callable[[], int] = threading.get_ident,
) -> None:
    if event in leaving and (outside := closed_for.get(this_thread())) is not None:
        outside.refuse(event)
