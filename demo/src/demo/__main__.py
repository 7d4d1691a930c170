"""`python -m demo`: `slipway demo` without a clone, for example in a container."""

import sys

from demo.command import app
from devkit.errors import DevkitError

if __name__ == "__main__":
    try:
        app(prog_name="demo")
    except DevkitError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
