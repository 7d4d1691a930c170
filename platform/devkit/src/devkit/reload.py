"""`python reload.py FOLDER… [-- ARGUMENT…]`: run the first folder, and restart it on changes.

It is process 1 of a development image, into which only this file is copied, so it imports nothing
but watchfiles. A syntax error in a changed file is printed and the program continues. The next
change restarts a program that ended by itself. With arguments, such as `migrate`, it runs once.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path

from watchfiles import PythonFilter, awatch, watch

__all__ = ["main"]

# Saving a file or copying a folder makes a burst of changes, which are reported together.
_STEP_MILLISECONDS = 20
_DEBOUNCE_MILLISECONDS = 400
_POLL_MILLISECONDS = 500
# Skaffold copies a file for each release that it deploys, which takes 0.2 s each time.
_REST_MILLISECONDS = 1000
# An editor empties a file before it writes it, and tar deletes it. So a file in this state has
# changed only if it stays so for a second without changes.
_UNWRITTEN = (None, sha256(b"").digest())
# A program that does not stop within this time is killed, as in a crash, so that new code runs.
_RESTART_SECONDS = 3.0
# The delay lets load balancers notice a stopping pod; a restart in place keeps the pod.
_VARIABLES = {"APP_SHUTDOWN_DELAY_SECONDS": "0"}


def main(arguments: Sequence[str]) -> int:
    """Run the program of the first folder until this process gets SIGTERM or SIGINT.

    Returns the program's exit code, or 128 plus the number of the signal that ended it.
    """
    separator = arguments.index("--") if "--" in arguments else len(arguments)
    folders, passed_on = arguments[:separator], arguments[separator + 1 :]
    command = [sys.executable, folders[0]]
    if passed_on:
        os.execv(sys.executable, [*command, *passed_on])
    return asyncio.run(_reload(command, folders))


async def _reload(command: Sequence[str], folders: Sequence[str]) -> int:
    """Run a command, and restart it after each change of code that has no syntax error."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    digests = _digests(file for folder in folders for file in Path(folder).rglob("*.py"))
    program = await _Program.start(command)
    errors: list[str] = []
    reported = True
    async for files in _changes(folders, digests, stop):
        if files:
            reported = False
            errors = [error for file in files if (error := _syntax_error(file))]
            if not errors:
                _print(f"restarting after a change of {', '.join(file.name for file in files)}")
                await program.end(_RESTART_SECONDS)
                _delete_bytecode(files)
                program = await _Program.start(command)
        elif not reported:
            # Skaffold hides output while it copies files. So errors are printed after that, and a
            # program that has ended by itself is started again to print its own error.
            reported = True
            for error in errors:
                _print(f"{error}; the program continues with the code before")
            if not program.running:
                program = await _Program.start(command)
    code = await program.end(None)
    return 128 - code if code < 0 else code


async def _changes(
    folders: Sequence[str], digests: Mapping[Path, bytes | None], stop: asyncio.Event
) -> AsyncIterator[list[Path]]:
    """Yield the files whose digests have changed; an empty list after a second without changes."""
    digests = dict(digests)
    unwritten: set[Path] = set()
    async for changes in awatch(
        *folders,
        watch_filter=PythonFilter(),
        stop_event=stop,
        step=_STEP_MILLISECONDS,
        debounce=_DEBOUNCE_MILLISECONDS,
        rust_timeout=_REST_MILLISECONDS,
        yield_on_timeout=True,
        force_polling=_must_poll(folders),
        poll_delay_ms=_POLL_MILLISECONDS,
    ):
        found = _digests(unwritten | {Path(path) for _, path in changes})
        unwritten = {file for file in found if changes and found[file] in _UNWRITTEN}
        written = {file: digest for file, digest in found.items() if file not in unwritten}
        changed = sorted(file for file in written if written[file] != digests.get(file))
        digests |= written
        if changed or not changes:
            yield changed


class _Program:
    """A run of the program. Its end is printed unless `end` caused it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ending = False
        self._waiting = asyncio.ensure_future(self._wait())

    @classmethod
    async def start(cls, command: Sequence[str]) -> "_Program":
        return cls(await asyncio.create_subprocess_exec(*command, env=os.environ | _VARIABLES))

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def end(self, seconds: float | None) -> int:
        """Send SIGTERM, and SIGKILL after `seconds`; return the exit code."""
        self._ending = True
        if self.running:
            self._process.terminate()
        try:
            return await asyncio.wait_for(asyncio.shield(self._waiting), seconds)
        except TimeoutError:
            self._process.kill()
            return await self._waiting

    async def _wait(self) -> int:
        code = await self._process.wait()
        if code != 0 and not self._ending:
            _print(f"the program ended with {code}; the next change starts it again")
        return code


def _digests(files: Iterable[Path]) -> dict[Path, bytes | None]:
    """Return a hash of each file's content; None for a file that does not exist."""
    return {file: sha256(file.read_bytes()).digest() if file.is_file() else None for file in files}


def _delete_bytecode(files: Iterable[Path]) -> None:
    """Delete the compiled bytecode of these files.

    Python compares a file's length and its date in seconds, so it would use outdated bytecode of
    a file that is saved twice in a second with the same length.
    """
    for file in files:
        Path(cache_from_source(file)).unlink(missing_ok=True)


def _syntax_error(file: Path) -> str | None:
    """Return why a file cannot be compiled; None if it can, or is gone."""
    try:
        compile(file.read_bytes(), file, "exec")
    except FileNotFoundError:
        return None
    except (SyntaxError, ValueError) as error:
        return f"{file}: {error}"
    return None


def _must_poll(folders: Iterable[str]) -> bool:
    """Return whether files must be polled, for example because the inotify limit is reached."""
    try:
        next(watch(*folders, rust_timeout=1, yield_on_timeout=True))
    except (OSError, RuntimeError):
        return True
    return False


def _print(text: str) -> None:
    print(f"reload: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
