"""Images (compiled sets of .proto files) of the current and the released contracts, by buf."""

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
    """Return whether the workspace has contracts; False after all have been deleted."""
    member = workspace.contracts
    if member is None:
        return False
    return bool(member.packages) or any(member.path.rglob("*.proto"))


def baseline_file(workspace: Workspace) -> Path:
    """Return the file of the released contracts' image. Raises DevkitError without contracts."""
    if workspace.contracts is None:
        raise DevkitError(f"{workspace.root} has no member contracts, so nothing is released")
    return workspace.contracts.path / "baseline.binpb"


def build_image(workspace: Workspace, *arguments: str) -> bytes:
    """Return the image of all contracts except those of tests.

    Raises:
        DevkitError: the contracts don't compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "image.binpb"
        code, said = run_buf(workspace, "build", "--output", str(output), *arguments)
        if code != 0:
            raise DevkitError(f"The contracts don't compile:\n{said}")
        return output.read_bytes()


def parse_image(image: bytes) -> FileDescriptorSet:
    """Return an image's descriptors, with the options of slipway.v1 decoded."""
    import slipway.v1  # noqa: F401  The import registers its options.

    return FileDescriptorSet.FromString(image)


def lint_problems(workspace: Workspace) -> list[str]:
    """Return the problems found by `buf lint`, each as `file:line:column: what`."""
    code, said = run_buf(workspace, "lint")
    return said.splitlines() if code != 0 else []


def run_buf(workspace: Workspace, command: str, *arguments: str) -> tuple[int, str]:
    """Run buf over the members with contracts; return its exit code and output."""
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    if not buf.exists():
        raise DevkitError("buf is not installed in this environment. Run `make setup`.")
    done = subprocess.run(
        [str(buf), command, *arguments, "--config", _buf_config(workspace)],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def _buf_config(workspace: Workspace) -> str:
    """Return buf's configuration: all contracts of the workspace, and the rules."""
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
            # buf refuses every change of the level; reading_methods.py refuses harmful ones.
            "breaking": {"use": ["FILE"], "except": ["RPC_SAME_IDEMPOTENCY_LEVEL"]},
        }
    )
