"""`python -m <module>` in a new process that is forked from one that has imported the chassis.

A service's imports take most of the processor time of a short run, so tests that start many
processes share them.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

__all__ = ["run_module", "start_module"]

# None of them starts a thread or reads a variable of the environment when it is imported.
_IMPORTED_ONCE = [
    "alembic.command",
    "alembic.runtime.migration",
    "chassis._commands",
    "chassis._lifecycle",
    "chassis.operations.command_line",
    "devkit.commands.operate",
    "devkit.commands.render",
]


@cache
def _context() -> ForkServerContext:
    for name in _IMPORTED_ONCE:
        # The server ignores modules that do not exist.
        assert find_spec(name), name
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context


def start_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path | None = None,
    folder: Path | None = None,
) -> ForkServerProcess:
    """Start `python -m module` with these variables only; its output is appended to the files.

    `stderr` is `stdout` by default, and `folder`, its working directory, that of this process.
    """
    stderr = stderr or stdout
    for file in (stdout, stderr):
        file.touch()
    process = _context().Process(
        target=_run,
        args=(module, arguments, dict(environment), stdout, stderr, folder),
        daemon=True,
    )
    process.start()
    return process


def run_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` to its end. Raises TimeoutExpired if that takes longer."""
    with tempfile.TemporaryDirectory() as outputs:
        stdout, stderr = Path(outputs) / "stdout", Path(outputs) / "stderr"
        process = start_module(
            module,
            *arguments,
            environment=environment,
            stdout=stdout,
            stderr=stderr,
            folder=folder,
        )
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired([module, *arguments], seconds)
        return subprocess.CompletedProcess(
            [module, *arguments],
            process.exitcode,
            stdout.read_text(encoding="utf-8"),
            stderr.read_text(encoding="utf-8"),
        )


def _run(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    folder: Path | None,
) -> None:
    for path, number in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, number)
        os.close(file)
    # The inherited streams were opened for a file of another kind: a pipe cannot be sought.
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(
        2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    os.environ.clear()
    os.environ.update(environment)
    # The interpreter reads this variable only when it starts.
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if folder is not None:
        os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
