"""Sockets to listen on; if an address cannot be used, an error that says why and what to do."""

import errno
import socket
from typing import NamedTuple

from chassis.exit_codes import CONFIGURATION, FAILED

__all__ = [
    "GRPC",
    "HTTP",
    "METRICS",
    "CannotListen",
    "PortInUse",
    "Variables",
    "listen",
    "listen_error",
]


class Variables(NamedTuple):
    """The names of the variables that set an address."""

    host: str
    port: str


HTTP = Variables("APP_HTTP_HOST", "APP_HTTP_PORT")
METRICS = Variables("APP_HTTP_HOST", "APP_METRICS_PORT")
GRPC = Variables("APP_GRPC_HOST", "APP_GRPC_PORT")

_FIRST_UNPRIVILEGED = 1024


class CannotListen(Exception):
    """An address of the settings cannot be listened on.

    `exit_code` tells a supervisor whether a restart can help.
    """

    exit_code = CONFIGURATION


class PortInUse(CannotListen):
    """Another process listens on the port; a restart can help once it has ended."""

    exit_code = FAILED


def listen(host: str, port: int, variables: Variables, *, backlog: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        CannotListen: the address cannot be used; the message says why and names the `variables`.
    """
    listener = _bind(host, port, variables)
    try:
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise _explained(error, host, port, variables) from error
    return listener


def listen_error(host: str, port: int, variables: Variables) -> CannotListen | None:
    """Return the reason why an address cannot be listened on, None if it can.

    It is for libraries that fail to listen without giving the reason.
    """
    try:
        listen(host, port, variables, backlog=1).close()
    except CannotListen as reason:
        return reason
    return None


def _bind(host: str, port: int, variables: Variables) -> socket.socket:
    """Return a bound socket; raise CannotListen if the address cannot be used."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise _explained(error, host, port, variables) from error
    # A name with IPv4 and IPv6 addresses is listened on at its IPv4 address.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    try:
        # The protocol is named, because asyncio sets TCP_NODELAY only on sockets that name it.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _explained(error, host, port, variables) from error
    try:
        # SO_REUSEADDR allows a port whose former connections are still in TIME_WAIT, but not a port
        # that another process listens on.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _explained(error, host, port, variables) from error
    return listener


def _explained(
    error: OSError | UnicodeError, host: str, port: int, variables: Variables
) -> CannotListen:
    """Return an error that says in the words of the settings what failed and what to change."""
    host_variable, port_variable = variables
    if isinstance(error, (socket.gaierror, UnicodeError)):
        said = error.strerror if isinstance(error, socket.gaierror) else "it is not a valid name"
        return CannotListen(
            f"the host {host[:100]!r} cannot be resolved ({said}): set {host_variable} to an "
            "address of this machine, or 0.0.0.0 for all of them"
        )
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"port {port} on {host} is in use: stop what listens there, "
            f"or move this service with {port_variable}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = (
            f"choose one from {_FIRST_UNPRIVILEGED} upwards with {port_variable}, "
            "or give the process the capability NET_BIND_SERVICE"
            if port < _FIRST_UNPRIVILEGED
            else f"choose another with {port_variable}"
        )
        return CannotListen(f"this process may not listen on port {port} of {host}: {advice}")
    if error.errno == errno.EADDRNOTAVAIL:
        return CannotListen(
            f"{host} is not an address of this machine: set {host_variable} to one of its own, "
            "or 0.0.0.0 for all of them"
        )
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return CannotListen(
            f"this machine does not support addresses like {host}"
            f"{' (IPv6)' if ':' in host else ''}: set {host_variable} to an IPv4 address"
        )
    return CannotListen(
        f"cannot listen on port {port} of {host}: {error.strerror}; "
        f"see {host_variable} and {port_variable}"
    )
