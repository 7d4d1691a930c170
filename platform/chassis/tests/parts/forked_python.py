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
from types import ModuleType

__all__ = ["run_code", "run_module", "start_code", "start_module"]

# None of them starts a thread or reads a variable of the environment when it is imported.
_IMPORTED_ONCE = [
    "alembic.command",
    "alembic.runtime.migration",
    "chassis._commands",
    "chassis._lifecycle",
    "chassis.operations.command_line",
    "devkit.commands.operate",
    "devkit.commands.render",
    "devkit.commands.run",
    "httpx",
    "prometheus_client.parser",
    "psutil",
    "psycopg",
    "rich.live",
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
    stdin: Path | None = None,
    folder: Path | None = None,
) -> ForkServerProcess:
    """Start `python -m module` with these variables only; its output is appended to the files.

    `stderr` is `stdout` by default, and `folder`, its working directory, that of this process.
    The input is empty by default.
    """
    command = ("-m", module, *arguments)
    return _start(command, environment, stdout, stderr, stdin, folder)


def start_code(
    code: str,
    *arguments: str,
    stdout: Path,
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ForkServerProcess:
    """Start `python -c code`, by default with the variables of this process."""
    command = ("-c", code, *arguments)
    return _start(command, environment or os.environ, stdout, stdin=stdin)


def run_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` to its end. Raises TimeoutExpired if that takes longer."""
    return _run(("-m", module, *arguments), environment, folder, seconds)


def run_code(
    code: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """Run `python -c code` to its end. Raises TimeoutExpired if that takes longer."""
    return _run(("-c", code, *arguments), environment or os.environ, None, seconds)


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path | None = None,
    stdin: Path | None = None,
    folder: Path | None = None,
) -> ForkServerProcess:
    stderr = stderr or stdout
    for file in (stdout, stderr):
        file.touch()
    process = _context().Process(
        target=_interpret,
        args=(command, dict(environment), stdout, stderr, stdin, folder),
        daemon=True,
    )
    process.start()
    return process


def _run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None, seconds: float
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as outputs:
        stdout, stderr = Path(outputs) / "stdout", Path(outputs) / "stderr"
        process = _start(command, environment, stdout, stderr, folder=folder)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, seconds)
        return subprocess.CompletedProcess(
            command,
            process.exitcode,
            stdout.read_text(encoding="utf-8"),
            stderr.read_text(encoding="utf-8"),
        )


def _interpret(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    stdin: Path | None,
    folder: Path | None,
) -> None:
    """Do in the forked process what `python *command` does."""
    if stdin is not None:
        _open(stdin, 0, os.O_RDONLY)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    for path, number in ((stdout, 1), (stderr, 2)):
        _open(path, number, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
    option, program, *arguments = command
    if option == "-m":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [option, *arguments]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(program, vars(main))


def _open(path: Path, number: int, flags: int) -> None:
    file = os.open(path, flags, 0o644)
    os.dup2(file, number)
    os.close(file)
