"""The entry point of every image: it runs the single package next to this file."""

from pathlib import Path
from runpy import run_module

[package] = [entry.parent.name for entry in Path(__file__).parent.glob("*/__main__.py")]
run_module(package, run_name="__main__", alter_sys=True)
