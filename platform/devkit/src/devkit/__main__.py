"""The entry point of the command `slipway`."""

import gc
import sys

from chassis.command_output import command_output
from devkit.errors import DevkitError

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; print a DevkitError as a message and exit with its code."""
    # Collections during the imports find almost no garbage and take a tenth of a command's start.
    gc.disable()
    try:
        from devkit.command_line import command_line

        with command_output():
            command = command_line(sys.argv[1:])
            gc.freeze()
            gc.enable()
            command()
    except DevkitError as error:
        print(f"slipway: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        advice = "run `rm -r .venv; make setup`"
        print(f"slipway: {error.name} is not installed; {advice}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # Ctrl-C was pressed while modules were imported.
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
