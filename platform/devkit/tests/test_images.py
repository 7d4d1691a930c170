"""Options of builds and bills of materials, tested without a Docker engine."""

import json
import os
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator

from devkit.errors import DevkitError
from devkit.images import docker as docker_client
from devkit.images.build import pick_members
from devkit.images.package_access import package_access
from devkit.images.sbom import bill_of_materials
from devkit.workspace import Workspace, find_workspace

# The tests share a bill of materials, which takes seconds to make.
pytestmark = pytest.mark.xdist_group("images")


@pytest.fixture(scope="module")
def real() -> Workspace:
    return find_workspace(Path(__file__))


@pytest.fixture
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def secrets(options: list[str]) -> dict[str, Path]:
    """Return the secret files of a build by their ids."""
    given = (dict(part.split("=", 1) for part in option.split(","))
             for option in options if option.startswith("id="))  # fmt: skip
    return {secret["id"]: Path(secret["src"]) for secret in given}


@pytest.mark.usefixtures("without_settings")
def test_a_build_is_given_nothing_where_pip_needs_nothing() -> None:
    with package_access() as options:
        assert secrets(options) == {}


@pytest.mark.usefixtures("without_settings")
def test_a_build_reaches_the_index_that_pip_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://old.example/simple\ntimeout = 99\nquiet = 0\n"
        "[install]\ntrusted-host =\n  one.example\n  two.example\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:pass%40word@new.example/simple")

    with package_access() as options:
        file = secrets(options)["pip.conf"]
        told = RawConfigParser()
        told.read(file, encoding="utf-8")

        # pip can read the file, and it contains only the settings for the index.
        assert dict(told["global"]) == {
            "index-url": "https://me:pass%40word@new.example/simple",
            "trusted-host": "\none.example\ntwo.example",
            "timeout": "99",
        }
        assert "two.example" in pip_reads(file)
        assert not any("pass" in option for option in options)
    assert not file.exists()


@pytest.mark.usefixtures("without_settings")
def test_a_build_trusts_the_certificate_that_pip_trusts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = tmp_path / "ca.crt"
    monkeypatch.setenv("PIP_CERT", str(certificate))

    with package_access() as options:
        assert secrets(options) == {"ca.crt": certificate}


def pip_reads(file: Path) -> str:
    command = [sys.executable, "-m", "pip", "config", "list"]
    environment = os.environ | {"PIP_CONFIG_FILE": str(file)}
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=True
    ).stdout


def test_the_first_client_that_builds_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, code in (("without", 1), ("with", 0), ("later", 0)):
        client = tmp_path / name / "docker"
        client.parent.mkdir()
        client.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        client.chmod(0o755)

    def on_path(*names: str) -> str:
        docker_client.docker.cache_clear()
        monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in names))
        return docker_client.docker()

    try:
        assert on_path("without", "with", "later") == str(tmp_path / "with" / "docker")
        with pytest.raises(DevkitError, match="buildx"):
            on_path("without")
        with pytest.raises(DevkitError, match="no docker on the PATH"):
            on_path("nowhere")
    finally:
        docker_client.docker.cache_clear()


def test_an_unknown_service_is_named_together_with_the_known_ones(real: Workspace) -> None:
    with pytest.raises(DevkitError, match=r"there is no service order; there are: .*orders"):
        pick_members(real, ["order"])


@pytest.fixture(scope="module")
def bill(real: Workspace) -> str:
    return bill_of_materials(real, real.services[0], "1.2.3")


def test_a_bill_of_materials_keeps_to_the_schema(bill: str) -> None:
    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)

    assert validator.validate_str(bill) is None


def test_a_bill_of_materials_is_the_same_whenever_it_is_made(real: Workspace, bill: str) -> None:
    assert bill_of_materials(real, real.services[0], "1.2.3") == bill


def test_a_bill_of_materials_names_the_image_and_has_the_hashes_of_the_lock(
    real: Workspace, bill: str
) -> None:
    lock = (real.root / "requirements.lock").read_text(encoding="utf-8")
    document = json.loads(bill)

    image = document["metadata"]["component"]
    assert (image["name"], image["version"]) == (real.services[0].name, "1.2.3")
    hashes = [
        digest["content"]
        for component in document["components"]
        for reference in component["externalReferences"]
        for digest in reference.get("hashes", ())
    ]
    assert len(hashes) == lock.count("--hash=sha256:")
    assert [digest for digest in hashes if f"sha256:{digest}" not in lock] == []
