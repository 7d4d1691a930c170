"""The contracts compiled by buf into one image, and the released one."""

import json
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from devkit.contracts.sources import find_proto_roots
from devkit.errors import DevkitError
from devkit.workspace import Workspace

__all__ = [
    "baseline_file",
    "build_image",
    "has_contracts",
    "lint_problems",
    "parse_image",
    "run_buf",
]


def has_contracts(workspace: Workspace) -> bool:
    """Whether there are promises between services; none where they have all been deleted."""
    member = workspace.contracts
    if member is None:
        return False
    return bool(member.packages) or any(member.path.rglob("*.proto"))


def baseline_file(workspace: Workspace) -> Path:
    """Where the image of what has been released is kept."""
    if workspace.contracts is None:
        raise DevkitError(f"{workspace.root} has no member contracts, so nothing is released")
    return workspace.contracts.path / "baseline.binpb"


def build_image(workspace: Workspace, *arguments: str) -> bytes:
    """The image of all contracts but those of tests. Raises DevkitError if they don't compile."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "image.binpb"
        code, said = run_buf(workspace, "build", "--output", str(output), *arguments)
        if code != 0:
            raise DevkitError(f"The contracts don't compile:\n{said}")
        return output.read_bytes()


def parse_image(image: bytes) -> FileDescriptorSet:
    """Its descriptors, with the options of slipway.v1 known."""
    import slipway.v1  # noqa: F401  registers its options

    return FileDescriptorSet.FromString(image)


def lint_problems(workspace: Workspace) -> list[str]:
    """What `buf lint` has to say, one `file:line:column: what` each."""
    code, said = run_buf(workspace, "lint")
    return said.splitlines() if code != 0 else []


def run_buf(workspace: Workspace, command: str, *arguments: str) -> tuple[int, str]:
    """Runs buf over the members that hold contracts. Returns its exit code and what it said."""
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    if not buf.exists():
        raise DevkitError("buf is not installed in this environment. Run `make setup`.")
    done = subprocess.run(
        [str(buf), command, *arguments, "--config", _config(workspace)],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def _config(workspace: Workspace) -> str:
    sources = {member.source_root for member in workspace.members}
    modules = [
        {"path": root.path.relative_to(workspace.root).as_posix()}
        for root in find_proto_roots(workspace)
        if root.path in sources
    ]
    return json.dumps(
        {
            "version": "v2",
            "modules": modules,
            "lint": {"use": ["STANDARD"]},
            # A method may begin to only read; that it ceases to is found in reading_methods.py.
            "breaking": {"use": ["FILE"], "except": ["RPC_SAME_IDEMPOTENCY_LEVEL"]},
        }
    )
