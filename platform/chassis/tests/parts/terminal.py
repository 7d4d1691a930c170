"""A command on a pseudo-terminal of a given size."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["typed_on_a_terminal"]


def typed_on_a_terminal(
    command: Sequence[str],
    columns: int,
    *,
    answer: str = "",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a command and return all that the terminal shows, the typed answer included.

    With 0 columns the terminal has the size 0x0.
    """
    terminal, its_end = pty.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as shown:
        size = struct.pack("HHHH", 24 if columns else 0, columns, 0, 0)
        fcntl.ioctl(its_end, termios.TIOCSWINSZ, size)
        process = subprocess.Popen(
            command,
            env=os.environ | (environment or {}),
            cwd=folder,
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
        )
        os.close(its_end)
        shown.write(answer.encode())
        output = b""
        # Linux raises OSError when no process has the terminal open any more.
        with contextlib.suppress(OSError):
            while some := shown.read(4096):
                output += some
        process.wait(60)
    return output.decode().replace("\r\n", "\n")
