"""A real PgBouncer in front of a test's PostgreSQL server."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from localservers import PostgresServer, free_port

__all__ = ["pooler", "through"]

_CONFIG = """\
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
"""


@contextmanager
def pooler(server: PostgresServer, mode: str, *, size: int = 20) -> Iterator[int]:
    """Run a PgBouncer in a mode and yield its port; skip the test if it is not installed."""
    binary = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if binary is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pooler-") as folder:
        Path(folder).chmod(0o755)
        config = Path(folder, "pgbouncer.ini")
        text = _CONFIG.format(server=server.port, port=port, mode=mode, size=size)
        config.write_text(text, encoding="utf-8")
        # PgBouncer refuses to run as root.
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([binary, *user, str(config)], stdout=log, stderr=log)
        try:
            _wait(process, port, Path(folder, "log"))
            yield port
        finally:
            process.kill()
            process.wait()


def through(url: str, port: int) -> str:
    """Return the URL of a database through a pooler."""
    return make_url(url).set(port=port).render_as_string(hide_password=False)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    ends_at = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < ends_at:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"pgbouncer does not listen: {log.read_text(encoding='utf-8')}")
