"""An address to listen on; when it cannot be had, the reason and what to do."""

import errno
import socket
from typing import NamedTuple

from chassis.exit_codes import CONFIGURATION, FAILED

__all__ = ["GRPC", "HTTP", "METRICS", "CannotListen", "PortInUse", "Variables", "listen", "why_not"]


class Variables(NamedTuple):
    """The variables that set an address."""

    host: str
    port: str


HTTP = Variables("APP_HTTP_HOST", "APP_HTTP_PORT")
METRICS = Variables("APP_HTTP_HOST", "APP_METRICS_PORT")
GRPC = Variables("APP_GRPC_HOST", "APP_GRPC_PORT")

_LOWEST_FREE_FOR_ALL = 1024


class CannotListen(Exception):
    """The service cannot listen where its settings say.

    `exit_code` tells whoever starts the process whether trying again can help.
    """

    exit_code = CONFIGURATION


class PortInUse(CannotListen):
    """Something else listens there, and may go away."""

    exit_code = FAILED


def listen(host: str, port: int, variables: Variables, *, backlog: int) -> socket.socket:
    """A listening socket. `variables` are named in the reason if it cannot be had.

    Raises:
        CannotListen: with the reason.
    """
    listener = _bound(host, port, variables)
    try:
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise _reason(error, host, port, variables) from error
    return listener


def why_not(host: str, port: int, variables: Variables) -> CannotListen | None:
    """Why nobody can listen there now, for a library that keeps the reason to itself."""
    try:
        listen(host, port, variables, backlog=1).close()
    except CannotListen as reason:
        return reason
    return None


def _bound(host: str, port: int, variables: Variables) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise _reason(error, host, port, variables) from error
    # A name of both kinds of address is listened on at the older one, as ever.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _reason(error, host, port, variables) from error
    try:
        # A port whose old connections still wind down is free; one that is listened on is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _reason(error, host, port, variables) from error
    return listener


def _reason(
    error: OSError | UnicodeError, host: str, port: int, variables: Variables
) -> CannotListen:
    host_variable, port_variable = variables
    if isinstance(error, (socket.gaierror, UnicodeError)):
        said = error.strerror if isinstance(error, socket.gaierror) else "it is no name"
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
            f"choose one from {_LOWEST_FREE_FOR_ALL} on with {port_variable}, "
            "or give the process the capability NET_BIND_SERVICE"
            if port < _LOWEST_FREE_FOR_ALL
            else f"choose another with {port_variable}"
        )
        return CannotListen(f"port {port} on {host} is not allowed to this process: {advice}")
    if error.errno == errno.EADDRNOTAVAIL:
        return CannotListen(
            f"{host} is no address of this machine: set {host_variable} to one of its own, "
            "or 0.0.0.0 for all of them"
        )
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return CannotListen(
            f"{host} is an address of a kind that this machine does not speak"
            f"{' (IPv6)' if ':' in host else ''}: set {host_variable} to an IPv4 address"
        )
    return CannotListen(
        f"cannot listen on port {port} of {host}: {error.strerror}; "
        f"see {host_variable} and {port_variable}"
    )
