"""The first process of a development image restarts the program after a change."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

import devkit.reload

_PATIENCE_SECONDS = 60
_PROGRAM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("running {version}", sys.argv[1:], flush=True)
{rest}
"""
_WAITS = "signal.pause()"


class Reloader:
    """A reloader with a program in its own folder, and the output of both."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        # The file is copied to its own folder as in the image, because next to it the devkit's
        # modules would hide modules of the standard library.
        reloader = folder / "reload.py"
        shutil.copy(devkit.reload.__file__, reloader)
        program = folder / "program"
        program.mkdir()
        self.program = program / "__main__.py"
        self.program.write_text(_PROGRAM.format(version=1, rest=_WAITS), encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, str(reloader), str(program), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            start_new_session=True,
        )  # fmt: skip
        self.printed = ""
        self._reading = Thread(target=self._read)
        self._reading.start()

    def save(self, version: int, rest: str = _WAITS, *, until: str) -> None:
        """Save the program until its output appears, because the watch may start late."""

        def shown() -> bool:
            self.write(version, rest)
            return until in self.printed

        # The time exceeds the pause after which errors are printed.
        self.wait_for(shown, seconds_between=3)

    def write(self, version: int, rest: str = _WAITS) -> None:
        text = _PROGRAM.format(version=version, rest=rest)
        self.program.write_text(text, encoding="utf-8")

    def wait_for(self, condition: Callable[[], bool], seconds_between: float = 0.05) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, self.printed
            time.sleep(seconds_between)

    def wait_for_text(self, text: str) -> None:
        self.wait_for(lambda: text in self.printed)

    def stop(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end and return the exit code."""
        code = self._process.wait(_PATIENCE_SECONDS)
        self._reading.join()
        return code

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.ended()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.printed += line
        self._process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Reloader]]:
    started: list[Reloader] = []

    def begin(*arguments: str) -> Reloader:
        started.append(Reloader(tmp_path, *arguments))
        return started[-1]

    yield begin
    for reloader in started:
        reloader.kill()


def test_a_saved_file_restarts_the_program(start: Callable[..., Reloader]) -> None:
    reloader = start()
    reloader.wait_for_text("running 1 []")

    reloader.save(2, until="running 2")

    assert "restarting after a change of __main__.py" in reloader.printed
    assert "the program ended" not in reloader.printed


def test_a_file_that_is_written_again_as_it_was_restarts_nothing(
    start: Callable[..., Reloader],
) -> None:
    """Skaffold copies a file once for each release that it deploys."""
    reloader = start()
    reloader.wait_for_text("running 1")
    reloader.save(2, until="running 2")

    for _ in range(5):
        reloader.write(2)
        # The time exceeds that of a burst of changes.
        time.sleep(0.2)
    reloader.save(3, "def broken(:", until="__main__.py: ")

    assert reloader.printed.count("restarting") == 1


@pytest.mark.parametrize("emptied_by", ["truncation", "deletion"])
def test_a_file_that_is_being_written_restarts_nothing_before_it_is_whole(
    start: Callable[..., Reloader], emptied_by: str
) -> None:
    """Editors truncate a file before they write it; `tar` deletes it, and Skaffold uses `tar`."""
    reloader = start()
    reloader.wait_for_text("running 1")
    reloader.save(2, until="running 2")

    if emptied_by == "truncation":
        reloader.program.write_bytes(b"")
    else:
        reloader.program.unlink()
    # The time exceeds that of a burst of changes, and is less than the pause without a change.
    time.sleep(0.2)
    reloader.write(2)
    reloader.save(3, "def broken(:", until="__main__.py: ")

    assert reloader.printed.count("restarting") == 1


@pytest.mark.parametrize("emptied_by", ["truncation", "deletion"])
def test_a_file_that_stays_empty_or_deleted_restarts_the_program(
    start: Callable[..., Reloader], tmp_path: Path, emptied_by: str
) -> None:
    module = tmp_path / "program" / "module.py"
    reloader = start()
    module.write_text("number = 1\n", encoding="utf-8")
    reloader.save(2, until="running 2")

    if emptied_by == "truncation":
        module.write_bytes(b"")
    else:
        module.unlink()

    reloader.wait_for_text("restarting after a change of module.py")


def test_two_saves_of_one_length_in_one_second_are_two_changes(
    start: Callable[..., Reloader], tmp_path: Path
) -> None:
    reloader = start()
    reloader.wait_for_text("running 1")
    reloader.save(2, until="running 2")

    saved = tmp_path / "saved"
    for version in (3, 4):
        saved.write_text(_PROGRAM.format(version=version, rest=_WAITS), encoding="utf-8")
        os.utime(saved, (1, 1))
        saved.replace(reloader.program)
        reloader.wait_for_text(f"running {version}")


def test_a_service_is_stopped_without_the_time_that_a_cluster_needs(
    start: Callable[..., Reloader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_SHUTDOWN_DELAY_SECONDS", "6")
    reloader = start()
    reloader.wait_for_text("running 1")

    delay = "import os; print('delay', os.environ['APP_SHUTDOWN_DELAY_SECONDS'], flush=True)\n"
    reloader.save(2, delay + _WAITS, until="delay 0")


def test_the_program_continues_while_a_file_does_not_parse(start: Callable[..., Reloader]) -> None:
    reloader = start()
    reloader.wait_for_text("running 1")

    reloader.save(2, "def broken(:", until="__main__.py: ")
    assert "the program continues with the code before" in reloader.printed
    assert "restarting" not in reloader.printed

    reloader.save(3, until="running 3")


def test_a_program_that_failed_is_started_by_the_next_change(
    start: Callable[..., Reloader],
) -> None:
    reloader = start()
    reloader.wait_for_text("running 1")

    reloader.save(2, "import nothing_of_this_name", until="the program ended with 1")
    # Skaffold hides output while it copies files.
    reloader.wait_for(lambda: reloader.printed.count("No module named 'nothing_of") == 2)
    reloader.save(3, until="running 3")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_passes_the_end_on_and_ends_as_the_program_does(
    start: Callable[..., Reloader], number: signal.Signals
) -> None:
    reloader = start()
    reloader.wait_for_text("running 1")

    assert reloader.stop(number) == 7


def test_a_command_runs_once_and_is_the_process_itself(start: Callable[..., Reloader]) -> None:
    reloader = start("--", "migrate")
    reloader.wait_for_text("running 1 ['migrate']")

    assert reloader.stop(signal.SIGTERM) == 7
