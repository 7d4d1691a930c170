"""A Python program on a pseudo-terminal of a given size."""

import contextlib
import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from forked_python import start_code

__all__ = ["typed_on_a_terminal"]


def typed_on_a_terminal(
    code: str,
    *arguments: str,
    columns: int,
    answer: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run `python -c code` and return all that the terminal shows, the typed answer included.

    With 0 columns the terminal has the size 0x0.
    """
    terminal, its_end = pty.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as shown:
        size = struct.pack("HHHH", 24 if columns else 0, columns, 0, 0)
        fcntl.ioctl(its_end, termios.TIOCSWINSZ, size)
        device = Path(os.ttyname(its_end))
        process = start_code(
            code,
            *arguments,
            environment=os.environ | (environment or {}),
            stdin=device,
            stdout=device,
        )
        shown.write(answer.encode())

        def close_at_the_end() -> None:
            process.join(60)
            os.close(its_end)

        closing = threading.Thread(target=close_at_the_end)
        closing.start()
        output = b""
        # Linux raises OSError when no process has the terminal open any more.
        with contextlib.suppress(OSError):
            while some := shown.read(4096):
                output += some
        closing.join()
    return output.decode().replace("\r\n", "\n")
