"""Services that die during their start, and their logs."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from devkit.console import LinePrinter
from devkit.errors import DevkitError
from devkit.platform import Platform, PlatformOptions
from devkit.workspace import Workspace
from localservers import free_port

Write = Callable[[str, str], Path]
WriteService = Callable[..., None]


@pytest.fixture
def shop(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a folder `site` on the import path of every process."""
    monkeypatch.setenv("PYTHONPATH", str(shop.root / "site"), prepend=os.pathsep)
    return shop


async def test_who_dies_again_and_again_is_not_waited_for_and_its_last_lines_come_first(
    shop: Workspace, write_service: WriteService, desk: str
) -> None:
    write_service(desk, http=free_port(), body="print('no license'); sys.exit(1)")
    heard: list[str] = []
    options = PlatformOptions(
        shop.state,
        workspace=shop,
        free_ports=True,
        on_line=lambda _, line: heard.append(line),
        on_event=lambda _, what: heard.append(what),
    )

    async with Platform(options) as platform:
        with pytest.raises(DevkitError) as raised:
            async with asyncio.timeout(200):
                await platform.wait_ready(1000)

    assert f"{desk} ended 3 times (exit code 1)" in str(raised.value)
    assert "no license" in str(raised.value)
    deaths = [at for at, text in enumerate(heard) if text.startswith("ended with")]
    assert deaths
    assert {heard[at - 1] for at in deaths} == {"no license"}


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ("pass", "loaded seed_of_desk"),
        ("from devkit.errors import DevkitError; raise DevkitError('no')", "not loaded: no"),
    ],
)
def test_what_a_platform_starts_with_is_loaded_once_everything_is_ready(
    shop: Workspace, write: Write, write_service: WriteService, desk: str, seed: str, said: str
) -> None:
    dist = f"site/slipway_{desk}-1.dist-info"
    write(f"{dist}/METADATA", f"Metadata-Version: 2.1\nName: slipway-{desk}\nVersion: 1\n")
    write(f"{dist}/entry_points.txt", "[slipway.seeds]\nseed_of_desk = seed_of_desk:seed\n")
    write("site/seed_of_desk.py", f"async def seed(platform):\n    {seed}\n")
    mended = shop.root / "mended"
    body = f"if not os.path.exists({str(mended)!r}): sys.exit('not mended yet')"
    write_service(desk, http=free_port(), body=body)
    output = shop.root / "output.txt"

    def wait_for(pattern: str) -> None:
        deadline = time.monotonic() + 100
        while not re.search(pattern, output.read_text(encoding="utf-8")):
            assert time.monotonic() < deadline, output.read_text(encoding="utf-8")
            time.sleep(0.05)

    with output.open("wb") as out:
        run = subprocess.Popen(
            [sys.executable, "-m", "devkit", "run", "--free-ports", "--no-watch"],
            cwd=shop.root,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("The other processes stay up")
        assert "loaded" not in output.read_text(encoding="utf-8")
        mended.touch()
        wait_for(said)
        assert (shop.state / "seeded").exists() is (seed == "pass")
    finally:
        run.send_signal(signal.SIGINT)
        run.wait(100)


def test_every_line_of_a_log_that_grows_is_shown_once(shop: Workspace) -> None:
    log = shop.state / "logs/desk-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("", encoding="utf-8")
    # This log is printed first, and the other grows in the meantime.
    log.with_name("cash-0.log").write_text("sold\n" * 3_000, encoding="utf-8")
    ended = threading.Event()

    def write_on() -> None:
        with log.open("a", encoding="utf-8", buffering=1) as file:
            for number in range(10**9):
                file.write(f"{number}\n")
                if ended.wait(0.0005):
                    return

    writer = threading.Thread(target=write_on)
    writer.start()
    follower = subprocess.Popen(
        [sys.executable, "-m", "devkit", "logs", "-f", "-n", "1000000"],
        cwd=shop.root,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert follower.stdout is not None
    try:
        with follower.stdout:
            first = [follower.stdout.readline() for _ in range(11_000)]
    finally:
        ended.set()
        writer.join()
        follower.kill()
        follower.wait()

    assert first == ["cash | sold\n"] * 3_000 + [f"desk | {number}\n" for number in range(8_000)]


def test_a_warning_stands_out_among_a_services_lines() -> None:
    file = StringIO()
    output = Console(file=file, force_terminal=True, color_system="standard", no_color=False)
    printer = LinePrinter(["desk"], output)

    printer.line("desk", "[info] all is well")
    printer.line("desk", "[warning] it is late")

    well, late = file.getvalue().splitlines()
    assert well == "\x1b[36mdesk | \x1b[0m[info] all is well"
    assert late == "\x1b[36mdesk | \x1b[0m\x1b[33m[warning]\x1b[0m it is late"
