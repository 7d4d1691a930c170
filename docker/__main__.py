"""The entry of every image: `python /app` is `python -m` of the one package beside this file."""

from pathlib import Path
from runpy import run_module

[package] = [entry.parent.name for entry in Path(__file__).parent.glob("*/__main__.py")]
run_module(package, run_name="__main__", alter_sys=True)
