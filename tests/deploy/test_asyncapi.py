"""The documents of the services are valid by AsyncAPI's schema of version 3."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(ROOT.glob("services/*/deploy/asyncapi.yaml"))
# AsyncAPI publishes the schema in npm's registry.
SCHEMAS = "@asyncapi/specs@6.11.1"


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """AsyncAPI's schema of version 3.0.0 from npm; tests are skipped if npm is unreachable."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm, which gets AsyncAPI's schema ({SCHEMAS}), is not on the PATH")
    folder = tmp_path_factory.mktemp("asyncapi")
    got = subprocess.run(
        [npm, "pack", "--silent", "--prefer-offline", SCHEMAS],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    if got.returncode != 0:
        pytest.skip(f"npm could not get {SCHEMAS}: {got.stderr.strip().splitlines()[-1:]}")
    with tarfile.open(folder / got.stdout.strip()) as archive:
        file = archive.extractfile("package/schemas/3.0.0.json")
        assert file is not None
        return json.load(file)


def read(document: Path) -> Any:
    return yaml.safe_load(document.read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.parts[-3])
def test_a_document_is_valid_by_asyncapis_own_schema(document: Path, schema: Any) -> None:
    validator = jsonschema_rs.validator_for(schema)

    assert [
        f"{each.instance_path}: {each.message}" for each in validator.iter_errors(read(document))
    ] == []


def test_the_schema_does_refuse_an_invalid_document(schema: Any) -> None:
    validator = jsonschema_rs.validator_for(schema)
    document = read(DOCUMENTS[0])
    operation = next(iter(document["operations"].values()))
    operation["action"] = "shout"

    assert not validator.is_valid(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.parts[-3])
def test_every_reference_of_a_document_leads_somewhere(document: Path) -> None:
    content = read(document)

    def lead(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(reference := node.get("$ref"), str):
                found = content
                for part in reference.removeprefix("#/").split("/"):
                    found = found[part]
            for each in node.values():
                lead(each)
        elif isinstance(node, list):
            for each in node:
                lead(each)

    lead(content)
