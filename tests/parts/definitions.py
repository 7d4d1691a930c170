"""Resource definitions of operators that a cluster lacks, from the operators' Go modules.

The operators install the same definitions. No controller runs, so objects are checked by their
schemas and have no effect.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devkit.cluster.tools import run

__all__ = ["definitions", "why_not_to_be_had"]

# Modules with their versions, and the files in them.
_MODULES = {
    "github.com/argoproj/argo-cd/v3@v3.5.0": "manifests/crds/app*-crd.yaml",
    "github.com/cloudnative-pg/cloudnative-pg@v1.28.0": (
        "config/crd/bases/postgresql.cnpg.io_[cd]*s.yaml"
    ),
    "github.com/fluxcd/helm-controller@v1.4.0": "config/crd/bases/*.yaml",
    "github.com/fluxcd/kustomize-controller@v1.7.3": "config/crd/bases/*.yaml",
    "github.com/fluxcd/notification-controller@v1.6.0": "config/crd/bases/*.yaml",
    "github.com/fluxcd/source-controller@v1.7.0": "config/crd/bases/*.yaml",
    "github.com/kedacore/keda/v2@v2.21.0": "config/crd/bases/keda.sh_*.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/*_[ps]*[rs].yaml"
    ),
}
_SECONDS = 300


def why_not_to_be_had() -> str | None:
    """Return why these definitions cannot be fetched; None if they can."""
    if shutil.which("go") is None:
        return "go is not on the PATH, which fetches the operators' resource definitions"
    return None


@contextmanager
def definitions() -> Iterator[None]:
    """Install missing definitions in the cluster, and remove them at the end."""
    there = set(_names("get", "customresourcedefinitions"))
    made: list[str] = []
    try:
        for module, pattern in _MODULES.items():
            for file in sorted(_folder(module).glob(pattern)):
                (name,) = _names("create", "--dry-run=client", f"--filename={file}")
                if name not in there:
                    made.append(name)
                    run("kubectl", "apply", "--server-side", f"--filename={file}")
        run("kubectl", "wait", "--for=condition=Established", "--timeout=60s", *made)
        yield
    finally:
        if made:
            run("kubectl", "delete", "--ignore-not-found", *made, seconds=_SECONDS)


def _names(*arguments: str) -> list[str]:
    return run("kubectl", *arguments, "--output=name").split()


def _folder(module: str) -> Path:
    done = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd="/",  # The folder must not be in a module.
        capture_output=True,
        encoding="utf-8",
        timeout=_SECONDS,
        check=True,
    )
    return Path(json.loads(done.stdout)["Dir"])
