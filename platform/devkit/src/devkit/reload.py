"""`python reload.py FOLDER… [-- ARGUMENT…]`: run the first folder, again whenever a file changes.

It is process 1 of a development image, into which this file is copied alone; so it imports nothing
but watchfiles. A change that does not parse is printed, and what runs goes on. A program that ends
by itself is started again by the next change. With arguments, such as `migrate`, it runs once.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Sequence
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path

from watchfiles import PythonFilter, awatch, watch

__all__ = ["main"]

# A save is one burst of a few milliseconds, and a copied folder one of a few more.
_STEP_MILLISECONDS = 20
_DEBOUNCE_MILLISECONDS = 400
_POLL_MILLISECONDS = 500
# Skaffold copies a file once for each release that it deploys, each time in a fifth of a second.
_REST_MILLISECONDS = 1000
# What the program has not finished until then is cut off, as by a crash, for the new code's sake.
_RESTART_SECONDS = 3.0
# Nobody is told of a restart in place, so that a service needs no time in which that gets about.
_VARIABLES = {"APP_SHUTDOWN_DELAY_SECONDS": "0"}


def main(arguments: Sequence[str]) -> int:
    """Run the program of the first folder until this process is told to stop.

    Returns the program's exit code; 128 and the signal's number for one that a signal ended.
    """
    separator = arguments.index("--") if "--" in arguments else len(arguments)
    folders, passed_on = arguments[:separator], arguments[separator + 1 :]
    command = [sys.executable, folders[0]]
    if passed_on:
        os.execv(sys.executable, [*command, *passed_on])
    return asyncio.run(_reload(command, folders))


async def _reload(command: Sequence[str], folders: Sequence[str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    known = _digests(file for folder in folders for file in Path(folder).rglob("*.py"))
    program = await _Program.start(command)
    broken: list[str] = []
    seen = True
    async for files in _changes(folders, known, stop):
        if files:
            seen = False
            broken = [error for file in files if (error := _syntax_error(file))]
            if not broken:
                _say(f"restarting after a change of {', '.join(file.name for file in files)}")
                await program.end(_RESTART_SECONDS)
                _forget_bytecode(files)
                program = await _Program.start(command)
        elif not seen:
            # Skaffold shows nothing of what is printed while it copies files. So a mistake is told
            # after that, and a program that has ended by itself is started again to tell its own.
            seen = True
            for error in broken:
                _say(f"{error}; what ran before goes on")
            if not program.runs:
                program = await _Program.start(command)
    code = await program.end(None)
    return 128 - code if code < 0 else code


async def _changes(
    folders: Sequence[str], known: dict[Path, bytes | None], stop: asyncio.Event
) -> AsyncIterator[list[Path]]:
    """Yield the files that differ from what is known; none if there was no change for a while."""
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
        found = _digests(Path(path) for _, path in changes)
        changed = sorted(file for file in found if found[file] != known.get(file))
        known = known | found
        if changed or not changes:
            yield changed


class _Program:
    """One run of the program. An end that nobody asked for is printed."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._asked = False
        self._waiting = asyncio.ensure_future(self._wait())

    @classmethod
    async def start(cls, command: Sequence[str]) -> "_Program":
        return cls(await asyncio.create_subprocess_exec(*command, env=os.environ | _VARIABLES))

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    async def end(self, seconds: float | None) -> int:
        """Stop it, by force after `seconds`, and return its exit code."""
        self._asked = True
        if self.runs:
            self._process.terminate()
        try:
            return await asyncio.wait_for(asyncio.shield(self._waiting), seconds)
        except TimeoutError:
            self._process.kill()
            return await self._waiting

    async def _wait(self) -> int:
        code = await self._process.wait()
        if code != 0 and not self._asked:
            _say(f"the program ended with {code}; the next change starts it again")
        return code


def _digests(files: Iterable[Path]) -> dict[Path, bytes | None]:
    """What the content of each file is told from; None where there is no such file."""
    return {file: sha256(file.read_bytes()).digest() if file.is_file() else None for file in files}


def _forget_bytecode(files: Iterable[Path]) -> None:
    """Remove what Python has compiled of these files.

    It knows a file's date by the second only, and would take the file of a second save in the same
    second, of the same length, for the first.
    """
    for file in files:
        Path(cache_from_source(file)).unlink(missing_ok=True)


def _syntax_error(file: Path) -> str | None:
    try:
        compile(file.read_bytes(), file, "exec")
    except FileNotFoundError:
        return None
    except (SyntaxError, ValueError) as error:
        return f"{file}: {error}"
    return None


def _must_poll(folders: Iterable[str]) -> bool:
    """Whether the system does not tell of changes, for example because its limit is reached."""
    try:
        next(watch(*folders, rust_timeout=1, yield_on_timeout=True))
    except (OSError, RuntimeError):
        return True
    return False


def _say(text: str) -> None:
    print(f"reload: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
