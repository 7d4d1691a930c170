"""The command `slipway`."""

import sys

from devkit.errors import DevkitError

__all__ = ["main"]


def main() -> None:
    """Runs the command line; what the developer can put right is one message and exit code 1."""
    from devkit.command_line import command_line

    try:
        command_line(sys.argv[1:])()
    except DevkitError as error:
        print(f"slipway: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
