"""The bill of materials of an image (CycloneDX): the packages of the run-time lock."""

import json
import subprocess
import sysconfig
from pathlib import Path

from devkit.errors import DevkitError
from devkit.workspace import Member, Workspace

__all__ = ["bill_of_materials"]


def bill_of_materials(workspace: Workspace, member: Member, version: str) -> str:
    """Return the CycloneDX document of a service's image of this version, as JSON.

    The same lock makes the same document. Each package has the hashes that the lock accepts.

    Raises:
        DevkitError: the lock or the service's pyproject.toml cannot be read.
    """
    # A validation by the schema, which the tests do, would take ten times as long as the rest.
    made = subprocess.run(
        [
            str(Path(sysconfig.get_path("scripts")) / "cyclonedx-py"), "requirements",
            "--no-validate", "--output-reproducible",
            "--pyproject", str(member.path / "pyproject.toml"),
            str(workspace.root / "requirements.lock"),
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise DevkitError(f"{member.name} has no bill of materials:\n{made.stderr.strip()}")
    document = json.loads(made.stdout)
    image = document["metadata"]["component"]
    image["version"] = version
    packages = sorted(component["bom-ref"] for component in document["components"])
    # The lock does not contain the dependencies between packages.
    document["dependencies"] = [
        {"ref": image["bom-ref"], "dependsOn": packages},
        *({"ref": package} for package in packages),
    ]
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
