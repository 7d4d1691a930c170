"""Free ports that stay free while their server is down, for example between two runs."""

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

_LOWEST = 10240
_chosen: set[int] = set()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is not in use and was not returned before.

    It is below the range of ports for outgoing connections. A port in that range may be in use
    when a killed server starts again, and a client that retries to connect to the dead server may
    even connect to itself.

    Raises:
        RuntimeError: 1000 random ports are in use.
    """
    for _ in range(1000):
        port = random.randrange(_LOWEST, _lowest_outgoing_port())
        if port not in _chosen and _is_free(port):
            _chosen.add(port)
            return port
    raise RuntimeError("no free TCP port was found on 127.0.0.1: stop processes that listen")


def _lowest_outgoing_port() -> int:
    """Return the lowest port that the system assigns to outgoing connections."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        lowest_outgoing = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        lowest_outgoing = 49152
    return lowest_outgoing if lowest_outgoing > _LOWEST + 1000 else 32768


def _is_free(port: int) -> bool:
    """Return whether a server could listen on a port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this option too: a port with lingering connections counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
