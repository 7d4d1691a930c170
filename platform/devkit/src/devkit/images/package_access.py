"""Access of builds to the package index that pip uses on this machine, by build secrets."""

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

# The settings by which pip reaches an index; the other settings are for this machine only.
_INDEX_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@contextmanager
def package_access() -> Iterator[list[str]]:
    """Yield options of `docker build` that give its pip access to this machine's package index.

    The secrets are files that exist until the context ends and leave no trace in the image.

    Raises:
        DevkitError: pip does not print its settings.
    """
    settings = pip_settings()
    with TemporaryDirectory() as folder:
        options = [
            option
            for name in os.environ
            if name.lower() in _PROXIES
            for option in ("--build-arg", name)
        ]
        if index := {key: settings[key] for key in _INDEX_SETTINGS if key in settings}:
            config = RawConfigParser()
            config.read_dict({"global": index})
            file = Path(folder) / "pip.conf"
            with file.open("w", encoding="utf-8") as output:
                config.write(output)
            options += ["--secret", f"id=pip.conf,src={file}"]
        if certificate := settings.get("cert"):
            options += ["--secret", f"id=ca.crt,src={certificate}"]
        yield options


def pip_settings() -> dict[str, str]:
    """Return every setting of pip on this machine, from its files and from `PIP_…` variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--no-input", "config", "list"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if listed.returncode != 0:
        raise DevkitError(f"`pip config list` failed:\n{listed.stderr.strip()}")
    found = re.findall(r"^(\S+)\.([\w-]+)=(.*)$", listed.stdout, re.MULTILINE)
    # A variable takes precedence over the section of a command, which does so over the global one.
    ranked = sorted(found, key=lambda entry: (entry[0] == ":env:", entry[0] == "install"))
    return {
        key: str(ast.literal_eval(value))
        for section, key, value in ranked
        if section in ("global", "install", ":env:")
    }
