"""How a build reaches packages: as pip does on this machine, without a trace in the image."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from devkit.errors import DevkitError

__all__ = ["package_access", "pip_settings"]

# What pip needs to reach an index. Everything else is a matter of this machine.
_REACHING = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@contextmanager
def package_access() -> Iterator[list[str]]:
    """The options of `docker build` with which its pip reaches the index that pip uses here.

    The secrets are files that exist until the context ends. Raises DevkitError if pip can't be
    asked.
    """
    settings = pip_settings()
    with TemporaryDirectory() as folder:
        options = [
            option
            for name in os.environ
            if name.lower() in _PROXIES
            for option in ("--build-arg", name)
        ]
        if reaching := {key: settings[key] for key in _REACHING if key in settings}:
            config = RawConfigParser()
            config.read_dict({"global": reaching})
            file = Path(folder) / "pip.conf"
            with file.open("w", encoding="utf-8") as output:
                config.write(output)
            options += ["--secret", f"id=pip.conf,src={file}"]
        if certificate := settings.get("cert"):
            options += ["--secret", f"id=ca.crt,src={certificate}"]
        yield options


def pip_settings() -> dict[str, str]:
    """Every setting of pip on this machine, from its files and from `PIP_…` variables."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "--no-input", "config", "list"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if asked.returncode != 0:
        raise DevkitError(f"pip does not tell its settings:\n{asked.stderr.strip()}")
    found = re.findall(r"^(\S+)\.([\w-]+)=(.*)$", asked.stdout, re.MULTILINE)
    # A variable takes precedence over the section of a command, and that over the global one.
    ranked = sorted(found, key=lambda entry: (entry[0] == ":env:", entry[0] == "install"))
    return {
        key: str(ast.literal_eval(value))
        for section, key, value in ranked
        if section in ("global", "install", ":env:")
    }
