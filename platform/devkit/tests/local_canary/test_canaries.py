"""A platform with a canary: two versions of a service on real processes, and Envoy before them."""

import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from devkit.errors import DevkitError
from devkit.local_canary import CanaryOptions
from devkit.platform import Platform
from devkit.state import read_state
from devkit.workspace import Workspace
from localservers import free_port
from localservers.program import installed_program

needs_envoy = pytest.mark.skipif(
    installed_program("envoy") is None, reason="Envoy is not installed: `make envoy`"
)

SECONDS = 60.0

Write = Callable[[str, str], Path]
WriteService = Callable[..., None]


@pytest.fixture
def names() -> tuple[str, str]:
    """New service names for each test, because settings modules stay imported."""
    unique = free_port()
    return f"desk{unique}", f"stock{unique}"


@pytest.fixture
def services(
    workspace: Workspace,
    write: Write,
    write_service: WriteService,
    names: tuple[str, str],
    commit: Callable[[], str],
) -> Workspace:
    """A workspace of two services, `desk` calls `stock`; only in its last commit, stock is old."""
    desk, stock = names
    write(
        "pyproject.toml",
        f'[tool.uv.workspace]\nmembers = ["platform/*", "services/{desk}", "services/{stock}"]\n',
    )
    write(".gitignore", ".slipway\n")
    targets = f'targets: dict[str, str] = {{"{stock}": ""}}'
    write_service(desk, http=free_port(), settings=targets)
    settings = f"grpc_port: int = {free_port()}"
    write_service(stock, http=free_port(), settings=settings, answer="old")
    commit()
    write_service(stock, http=free_port(), settings=settings, answer="new")
    return Workspace(workspace.root)


@pytest.fixture
def defaults(services: Workspace, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The default options, with the two services."""
    sources = os.pathsep.join(str(member.source_root) for member in services.services)
    monkeypatch.setenv("PYTHONPATH", sources)
    return {"data": services.root / ".slipway", "workspace": services, "free_ports": True}


def told(platform: Platform, name: str) -> dict[str, str]:
    """Return the APP_ variables with which a process was started last."""
    (process,) = [process for process in platform.processes if process.name == name]
    lines = [line for line in process.lines() if line.startswith("starting")]
    content: dict[str, str] = json.loads(lines[-1].removeprefix("starting "))
    return content


async def answer(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).text


async def until_it_answers(
    url: str, text: str, *, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Wait until a service gives this answer ten times; call `meanwhile` every second.

    Each worker of Envoy learns of a new route by itself.
    """
    deadline = time.monotonic() + SECONDS
    for count in itertools.count():
        with suppress(httpx.HTTPError):
            if {await answer(url) for _ in range(10)} == {text}:
                return
        if count % 20 == 0:
            meanwhile()
        assert time.monotonic() < deadline, f"{url} never answered {text}"
        await asyncio.sleep(0.05)


@needs_envoy
async def test_the_working_tree_runs_as_a_canary_next_to_the_last_commit(
    run: Callable[..., Platform], names: tuple[str, str], git: Callable[..., str]
) -> None:
    desk, stock = names
    platform = run(canary=CanaryOptions({stock: 30}), replicas={stock: 2})
    await platform.start()
    await platform.wait_ready(60)

    stables, canary = platform.of(stock)[:2], platform.of(stock)[2]
    assert [process.name for process in platform.of(stock)] == [
        f"{stock}-stable",
        f"{stock}-stable-1",
        f"{stock}-canary",
    ]
    for stable in stables:
        assert await answer(stable.http_url) == "old"
        assert "APP_EVENT_WEIGHT_FILE" not in stable.environment
        assert git("rev-parse", stable.version) == git("rev-parse", "HEAD")
    assert await answer(canary.http_url) == "new"
    variables = told(platform, f"{stock}-canary")
    assert variables["APP_VERSION"] == "canary"
    assert Path(variables["APP_EVENT_WEIGHT_FILE"]).read_text(encoding="utf-8").strip() == "30"
    assert [process.track for process in platform.of(desk)] == [""]


@needs_envoy
async def test_callers_and_the_platforms_address_reach_both_versions_by_the_weight(
    run: Callable[..., Platform], names: tuple[str, str], services: Workspace
) -> None:
    desk, stock = names
    platform = run(canary=CanaryOptions({stock: 0}))
    await platform.start()
    await platform.wait_ready(60)

    target = json.loads(told(platform, desk)["APP_TARGETS"])[stock]
    assert target == f"ipv4:{platform.grpc_address(stock)}"
    assert not {process.grpc_port for process in platform.of(stock)} & {
        int(target.rpartition(":")[2])
    }
    assert {await answer(platform.url(stock)) for _ in range(5)} == {"old"}
    state = read_state(services.root / ".slipway")
    assert state is not None
    state.canaries[0].write(100)
    await until_it_answers(platform.url(stock), "new")


@needs_envoy
async def test_a_change_of_code_restarts_the_canary_and_not_the_stable_version(
    run: Callable[..., Platform], names: tuple[str, str], write_service: WriteService
) -> None:
    _, stock = names
    platform = run(canary=CanaryOptions({stock: 30}), watch=True)
    await platform.start()
    await platform.wait_ready(60)
    stable, canary = platform.of(stock)
    pid = stable.pid

    def save() -> None:
        # The watch of files may begin later than the services, so that it misses the first save.
        write_service(stock, http=free_port(), answer="newest")

    await until_it_answers(canary.http_url, "newest", meanwhile=save)

    assert stable.pid == pid
    assert await answer(stable.http_url) == "old"


@needs_envoy
async def test_a_dead_envoy_is_started_again_with_the_weight_of_now(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    _, stock = names
    platform = run(canary=CanaryOptions({stock: 0}), restart_servers=True)
    await platform.start()
    await platform.wait_ready(60)
    platform.canaries[0].write(100)
    state = read_state(platform.data)
    assert state is not None
    (envoy,) = [server for server in state.servers if server.name == "envoy"]
    os.kill(envoy.pid, 9)
    await until_it_answers(platform.url(stock), "new")


async def test_a_service_that_the_ref_lacks_cannot_have_a_canary(
    run: Callable[..., Platform], names: tuple[str, str], git: Callable[..., str]
) -> None:
    _, stock = names
    git("rm", "-r", "--quiet", "--cached", f"services/{stock}")
    git("commit", "--quiet", "--message", "Remove")
    with pytest.raises(DevkitError, match=f"there is no service {stock} in HEAD"):
        await run(canary=CanaryOptions({stock: 30})).start()


async def test_a_canary_of_a_service_that_is_not_run_is_told(
    run: Callable[..., Platform], names: tuple[str, str]
) -> None:
    _, stock = names
    with pytest.raises(DevkitError, match="there is no service nobody"):
        await run(canary=CanaryOptions({"nobody": 30})).start()
    with pytest.raises(DevkitError, match=f"--canary {stock}: {stock} is not run here"):
        await run(canary=CanaryOptions({stock: 30}), leave_out=(stock,)).start()


@needs_envoy
async def test_packages_that_the_stable_version_was_locked_with_are_named(
    run: Callable[..., Platform], names: tuple[str, str], write: Write, commit: Callable[[], str]
) -> None:
    _, stock = names
    write("requirements.lock", "pytest==0.1\n")
    commit()
    lines: list[str] = []
    platform = run(
        canary=CanaryOptions({stock: 30}), on_event=lambda name, text: lines.append(text)
    )
    await platform.start()
    assert [line for line in lines if f"pytest 0.1 (here {pytest.__version__})" in line]
