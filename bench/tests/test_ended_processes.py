"""The end of a process that a contender needs ends the benchmark, with the name of the process."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.processes import check_alive
from bench.stage import Stage
from bench.worker import Work
from devkit.errors import DevkitError

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def shop() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        yield process
        process.kill()


def test_a_contender_does_not_wait_for_a_shop_that_was_killed(
    tmp_path: Path, shop: subprocess.Popen[bytes]
) -> None:
    """Its client would send the order again for minutes."""

    def kill_the_shop_at_the_first_order() -> None:
        connection, _ = server.accept()
        shop.kill()
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server, Stage(tmp_path, tiny=True) as stage:
        threading.Thread(target=kill_the_shop_at_the_first_order, daemon=True).start()
        host, port = server.getsockname()
        work = Work(
            variant="in flight",
            count=1,
            nats=stage.nats.url,
            address=f"{host}:{port}",
            servers={"shop": shop.pid},
        )
        with pytest.raises(DevkitError, match=rf"shop \(process {shop.pid}\) has ended"):
            stage.run("saga.client", work)
    children = psutil.Process().children()
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in alive if "bench.saga.client" in child.cmdline()]


def test_a_process_has_ended_whether_or_not_its_parent_has_noticed(
    shop: subprocess.Popen[bytes],
) -> None:
    needed = {"replica 1": os.getpid(), "replica 2": shop.pid}
    check_alive(needed)
    shop.kill()
    os.waitid(os.P_PID, shop.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(DevkitError, match=rf"^replica 2 \(process {shop.pid}\) has ended"):
        check_alive(needed)
    shop.wait()
    with pytest.raises(DevkitError, match=r"^replica 2 "):
        check_alive(needed)
