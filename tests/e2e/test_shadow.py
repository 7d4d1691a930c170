"""`slipway canary shadow` finds what the working tree does differently with recorded events."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_platform import assert_nothing_is_left, running
from storefront import Storefront

from devkit.platform import Platform, PlatformOptions
from devkit.workspace import Workspace

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("shadow"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
AT_ONCE = 16


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of this workspace in a git repository of its own, where a test may change code."""
    root = tmp_path_factory.mktemp("shadow") / "workspace"
    _git(ROOT, "checkout-index", "--all", f"--prefix={root}{os.sep}")
    for name in _git(ROOT, "ls-files", "--modified", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((ROOT / name).read_bytes())
    _git(root, "init", "--quiet")
    _git(root, "add", "--all")
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    _git(root, *author, "commit", "--quiet", "--message", "All")
    return Workspace(root)


@pytest.fixture(scope="module", params=[60, pytest.param(340, marks=pytest.mark.soak)])
def orders(request: pytest.FixtureRequest) -> int:
    """The number of orders in the shop. The service orders handles three events of each."""
    return int(request.param)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.twin)])
def shopping(
    request: pytest.FixtureRequest, workspace: Workspace, orders: int
) -> Iterator[Platform]:
    """A platform whose orders have all ended."""
    data = workspace.root / ".slipway"
    # Another number of orders has left its data.
    shutil.rmtree(data, ignore_errors=True)
    options = PlatformOptions(
        data=data,
        free_ports=True,
        restart=False,
        database=request.param,
        environment={"APP_LOG_FORMAT": "json"},
    )
    with running(options) as platform:
        asyncio.run(_place_orders(platform, orders))
        yield platform


async def _place_orders(platform: Platform, orders: int) -> None:
    async with Storefront(platform) as shop:
        sku = await shop.product(stock=orders)
        places = asyncio.Semaphore(AT_ONCE)

        async def place() -> None:
            async with places:
                await shop.place(sku)

        await asyncio.gather(*(place() for _ in range(orders)))
    await assert_nothing_is_left(platform)


@pytest.fixture
def edited(workspace: Workspace) -> Iterator[Callable[[str, str, str], None]]:
    """A function that replaces a text in a file of the workspace until the test ends."""

    def edit(file: str, text: str, other: str) -> None:
        path = workspace.root / file
        code = path.read_text(encoding="utf-8")
        assert text in code
        path.write_text(code.replace(text, other), encoding="utf-8")

    yield edit
    _git(workspace.root, "checkout", "--quiet", "--", "services")


def shadow(workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    """Run the command in the workspace; return its exit code and what it printed."""
    sources = [str(member.source_root) for member in workspace.members]
    variables = {n: v for n, v in os.environ.items() if not n.startswith(("APP_", "SLIPWAY_"))}
    done = subprocess.run(
        [sys.executable, "-m", "devkit", "canary", "shadow", *arguments, "--against", "HEAD"],
        cwd=workspace.root,
        env=variables | {"PYTHONPATH": os.pathsep.join(sources)},
        capture_output=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout, done.stderr


async def test_an_equal_version_shows_no_difference(
    shopping: Platform, workspace: Workspace, orders: int
) -> None:
    code, out, err = await asyncio.to_thread(shadow, workspace, "orders", "--events", "10000")
    assert code == 0, out + err
    assert out.splitlines()[-1].startswith(f"no difference: 0 of {3 * orders:,} events, 0 of ")
    await assert_nothing_is_left(shopping)


async def test_a_doubled_amount_is_shown_as_a_diff_of_the_event_and_of_the_row(
    shopping: Platform,
    workspace: Workspace,
    edited: Callable[[str, str, str], None],
    orders: int,
) -> None:
    handlers, total = "services/payments/src/payments/handlers.py", "total.amount, total.currency)"
    edited(handlers, f"status, {total}", f"status, 2 * {total}")
    code, out, err = await asyncio.to_thread(shadow, workspace, "payments", "--diffs", "1")
    assert code == 1, out + err
    handler = next(line for line in out.splitlines() if "authorize_or_decline" in line)
    assert handler.split()[1:6] == [str(orders), "0", str(orders), "0", "0"]
    assert '-     "amount": "250",\n' in out
    assert '+     "amount": "500",\n' in out
    assert f"differences: {orders} of {orders} events, {orders} of {orders} rows" in out


async def test_a_handler_that_fails_for_some_keys_and_a_changed_text_are_found(
    shopping: Platform,
    workspace: Workspace,
    edited: Callable[[str, str, str], None],
    orders: int,
) -> None:
    handlers, line = "services/notifications/src/notifications/handlers.py", "total = order.total"
    bug = 'if order.order_id[-1] in "0123":\n        raise ValueError("bug")'
    edited(handlers, line, f"{line}\n    {bug}")
    code, out, err = await asyncio.to_thread(shadow, workspace, "notifications", "--diffs", "1")
    assert code == 1, out + err
    handler = next(line for line in out.splitlines() if "notify_of_confirmation" in line).split()
    events, equal, different, failed = map(int, handler[1:5])
    assert (events, equal + different) == (orders, orders)
    assert 0 < different == failed < orders
    assert '+ "reason": "ValueError: bug"\n' in out


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, encoding="utf-8"
    ).stdout
