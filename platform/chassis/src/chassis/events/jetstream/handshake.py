"""The client's first two commands, sent together so that the reason of a refusal arrives."""

from typing import Any

from nats.aio.transport import Transport

__all__ = ["ConnectWithPing"]

_PING = b"PING\r\n"


class ConnectWithPing:
    """A connection that holds CONNECT back until the PING after it, and sends both at once.

    A broker that refuses CONNECT says why and closes the connection. A PING that it has not read by
    then resets the connection, and a proxy, such as a mesh's sidecar, may discard the reason.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._held = b""

    def write(self, command: bytes) -> None:
        """Send the command and those held back, if it is the PING; otherwise hold it back."""
        self._held += command
        if command == _PING:
            self._transport.write(self._held)
            self._held = b""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the connection itself."""
        return getattr(self._transport, name)
