"""Free ports that stay free while their server is down."""

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

_LOWEST = 10240
_given: set[int] = set()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, not given out before by this process.

    It lies below the range from which the system takes the ports of outgoing connections. A port
    from that range may be gone when a killed server comes back, and a client that keeps trying to
    reach the dead server may even connect to itself.
    """
    for _ in range(1000):
        port = random.randrange(_LOWEST, _highest())
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free TCP port was found on 127.0.0.1: end what listens on so many")


def _highest() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        lowest_outgoing = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        lowest_outgoing = 49152
    return lowest_outgoing if lowest_outgoing > _LOWEST + 1000 else 32768


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
