"""Code generation: the contracts' Python modules, written next to the .proto files.

A file `x.proto` gets `x_pb2.py` and `x_pb2.pyi`, and if it has services `x_pb2_grpc.py` and
`x_pb2_grpc.pyi`. Each folder gets an `__init__.py` that re-exports the names of its modules.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from devkit.contracts.package_init import HEADER, package_init
from devkit.contracts.sources import ProtoRoot, find_proto_roots
from devkit.errors import DevkitError
from devkit.workspace import Workspace

__all__ = ["generate", "generated_files", "render"]

_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(workspace: Workspace) -> list[Path]:
    """Write the code and delete modules without a .proto file; return the changed files."""
    roots = find_proto_roots(workspace)
    changed = []
    for root, files in render(roots).items():
        for name in generated_files(root) - files.keys():
            (root / name).unlink()
            changed.append(root / name)
        for name, content in files.items():
            target = root / name
            if not target.exists() or target.read_bytes() != content:
                target.write_bytes(content)
                changed.append(target)
    return changed


def render(roots: Sequence[ProtoRoot]) -> dict[Path, dict[str, bytes]]:
    """Return the content of each generated file by root and name, without writing it."""
    names = [name for root in roots for name in root.files]
    if not names:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        descriptors = _generate_into(out, roots, names)
        return {root.path: _files_of(root, out, descriptors) for root in roots}


def generated_files(root: Path) -> set[str]:
    """Return the names of the generated modules below a root, also those without a .proto file."""
    return {
        file.relative_to(root).as_posix() for pattern in _PATTERNS for file in root.rglob(pattern)
    }


def _generate_into(
    out: Path, roots: Sequence[ProtoRoot], names: Sequence[str]
) -> list[FileDescriptorProto]:
    """Generate the code of these contracts into a folder, and return their descriptors."""
    descriptor_set = out / "descriptors.binpb"
    mypy = f"--plugin=protoc-gen-mypy={_installed_program('protoc-gen-mypy')}"
    outputs = [f"--descriptor_set_out={descriptor_set}", f"--python_out={out}"]
    _run_protoc(roots, names, mypy, *outputs, f"--mypy_out=quiet:{out}")
    descriptors = list(FileDescriptorSet.FromString(descriptor_set.read_bytes()).file)
    with_services = [file.name for file in descriptors if file.service]
    if with_services:
        mypy = f"--plugin=protoc-gen-mypy_grpc={_installed_program('protoc-gen-mypy_grpc')}"
        outputs = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        _run_protoc(roots, with_services, mypy, *outputs)
    return descriptors


def _files_of(
    root: ProtoRoot, out: Path, descriptors: Iterable[FileDescriptorProto]
) -> dict[str, bytes]:
    """Return the generated files of a root, by their path, with the packages' `__init__.py`."""
    files = {}
    for proto in root.files:
        stem = out / proto.removesuffix(".proto").replace("-", "_")
        for file in sorted(stem.parent.glob(f"{stem.name}_pb2*")):
            files[file.relative_to(out).as_posix()] = file.read_bytes()
    own = [file for file in descriptors if file.name in root.files]
    return files | {name: text.encode() for name, text in _init_files(root.path, own).items()}


def _init_files(root: Path, descriptors: Sequence[FileDescriptorProto]) -> Mapping[str, str]:
    """Return an `__init__.py` for each package and each folder above it, and a `py.typed`."""
    inits: dict[str, str] = {}
    by_package: dict[str, list[FileDescriptorProto]] = {}
    for descriptor in descriptors:
        by_package.setdefault(descriptor.package, []).append(descriptor)
    for package, files in by_package.items():
        parts = package.split(".")
        inits[f"{parts[0]}/py.typed"] = ""
        for depth in range(1, len(parts)):
            name = "/".join(parts[:depth]) + "/__init__.py"
            # A folder above may be a package with its own contracts, or have a hand-written file.
            written = (root / name).exists() and not (root / name).read_text(
                encoding="utf-8"
            ).startswith(HEADER)
            if not written:
                inits.setdefault(name, "")
        inits["/".join(parts) + "/__init__.py"] = package_init(package, files)
    return inits


def _installed_program(name: str) -> str:
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DevkitError(f"{name} is not installed in this environment. Run `make setup`.")
    return found


def _run_protoc(roots: Sequence[ProtoRoot], files: Iterable[str], *options: str) -> None:
    """Run protoc on contracts of these roots."""
    import grpc_tools

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    includes = [f"-I{path}" for path in (*(root.path for root in roots), well_known)]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *options, *files]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode != 0:
        raise DevkitError(f"The contracts don't compile:\n{done.stderr.strip()}")
