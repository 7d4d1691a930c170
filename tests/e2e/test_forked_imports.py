"""The fork server has imported all libraries that a service needs to become ready."""

import os
import sys
from pathlib import Path

import pytest

from devkit.fork_server.servers import ForkServers
from devkit.service_process import ServiceProcess
from localservers import NatsServer, free_port

pytestmark = pytest.mark.skipif(
    os.uname().sysname != "Linux", reason="processes are forked on Linux only"
)

# A service settles its garbage collector as soon as it is ready.
PROBE = """
import os, runpy, sys
from chassis import garbage
before = set(sys.modules)
def tell():
    print("imported", *sorted(sys.modules.keys() - before))
    os._exit(0)
garbage.settle = tell
runpy.run_module("orders", run_name="__main__", alter_sys=True)
"""


async def test_a_forked_service_imports_no_library_until_it_is_ready(tmp_path: Path) -> None:
    """Each import after the fork takes time and memory in each service."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe/__main__.py").write_text(PROBE, encoding="utf-8")
    http, grpc = free_port(), free_port()
    servers = ForkServers()
    with NatsServer(tmp_path / "nats") as nats:
        service = ServiceProcess(
            service="orders",
            replica=0,
            package="probe",
            http_port=http,
            grpc_port=grpc,
            environment={
                "APP_HTTP_PORT": str(http),
                "APP_GRPC_PORT": str(grpc),
                "APP_NATS_URL": nats.url,
                "APP_DATABASE_URL": f"sqlite:///{tmp_path}/orders.db",
            },
            log=tmp_path / "orders.log",
            folder=tmp_path,
            start_forked=servers.start,
        )
        try:
            service.start()
            await service.wait_ended(60)
        finally:
            servers.close()
    told = [line.split() for line in service.lines() if line.startswith("imported ")]
    assert told, service.lines()
    own = {"orders", "shop", *sys.stdlib_module_names}
    assert [name for name in told[0][1:] if name.partition(".")[0] not in own] == []
