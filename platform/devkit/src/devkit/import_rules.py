"""Rules of imports between and inside members, checked by import-linter.

import-linter does not read tests, so imports of the platform's tests are checked here.
"""

import ast
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.errors import DevkitError
from devkit.workspace import Member, Workspace

__all__ = ["check_imports", "foreign_imports_of_tests", "import_rules", "to_toml"]

_INNER = ("domain", "tables")
_OUTER = ("handlers", "rpc", "api", "service", "__main__")
# Layers from the top: a module imports modules of lower layers only. Modules of one layer are
# separated by "|" and do not import each other.
_EVENT_PATH = (
    "path",
    "consuming | gauges | jobs | ledger | operator_changes | producing | release",
    "cleanup",
    "held_up",
    "consumer | producer",
    "tasks",
    "handlers | membership",
    "jetstream",
    "background",
    "waiting",
    "wire",
)
_INPUT_OUTPUT = (
    "aiohttp", "alembic", "fastapi", "grpc", "httpx", "nats", "psycopg", "pydantic_settings",
    "requests", "sqlalchemy", "sqlite3", "starlette", "uvicorn",
)  # fmt: skip


@dataclass(frozen=True)
class ImportRule:
    """A rule, which import-linter calls a contract."""

    name: str
    type: str
    modules: tuple[str, ...]
    forbidden: tuple[str, ...] = ()
    direct_only: bool = False
    allowed: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


def check_imports(workspace: Workspace) -> None:
    """Raise DevkitError if an import breaks a rule; print what import-linter found."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "import-rules.toml"
        config.write_text(
            to_toml(_packages(workspace.members), import_rules(workspace)), encoding="utf-8"
        )
        done = subprocess.run(
            # The cache compares the times of files, which do not change when a file is moved.
            [
                str(Path(sysconfig.get_path("scripts")) / "lint-imports"),
                "--config",
                str(config),
                "--no-cache",
            ],
            cwd=workspace.root,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    foreign = list(foreign_imports_of_tests(workspace))
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="")
    if done.returncode != 0 or foreign:
        raise DevkitError(
            "\n".join(
                [
                    "An import breaks a rule: move the code to a module that may be imported, or"
                    " let the services communicate by contracts (docs/architecture.md).",
                    *foreign,
                ]
            )
        )


def import_rules(workspace: Workspace) -> list[ImportRule]:
    """Return all rules for the members of the workspace."""
    chassis = workspace.chassis.packages
    devkit = workspace.devkit.packages
    localservers = workspace.localservers.packages
    contracts = workspace.contracts.packages if workspace.contracts else ()
    services = _packages(workspace.services)
    others = _packages(workspace.others)
    forbidden = [
        ImportRule("chassis imports nothing above it", "forbidden", chassis,
                   (*devkit, *localservers, *contracts, *services, *others)),
        ImportRule("localservers imports no other member", "forbidden", localservers,
                   (*chassis, *devkit, *contracts, *services, *others)),
        ImportRule("devkit knows no contracts and no services", "forbidden", devkit,
                   (*contracts, *services, *others)),
        ImportRule("contracts are data", "forbidden", contracts,
                   (*devkit, *localservers, *services, *others)),
        ImportRule("services import no tools", "forbidden", services,
                   (*devkit, *localservers, *others)),
        ImportRule("services talk to others by the chassis only", "forbidden", services,
                   ("grpc", "nats"), direct_only=True),
        ImportRule("services import chassis or a module right below it", "forbidden", services,
                   tuple(f"{package}.*.*" for package in chassis), direct_only=True,
                   # chassis.rpc exports a function named client, which services may import.
                   allowed=("** -> chassis.rpc.client",)),
    ]  # fmt: skip
    rules = [rule for rule in forbidden if rule.modules and rule.forbidden]
    rules += _layered(workspace.chassis, "chassis", "events", _EVENT_PATH)
    rules.append(
        ImportRule("no imports in a circle", "acyclic_siblings",
                   (*chassis, *devkit, *localservers, *services, *others),
                   # Type checkers alone import the type of an argument.
                   allowed=("chassis.database.transaction -> chassis.events.wire.context",))
    )  # fmt: skip
    if len(services) > 1:
        rules.append(ImportRule("services don't import each other", "independence", services))
    for member in workspace.services:
        for package in member.packages:
            rules += _rules_inside(member, package)
    return rules


def _layered(
    member: Member, package: str, folder: str, layers: Iterable[str]
) -> Iterator[ImportRule]:
    """Yield the rule that no module of a folder imports from a higher layer."""
    home = member.source_root / package / folder
    present = [" | ".join(n for n in layer.split(" | ") if _is_module(home, n)) for layer in layers]
    if any(present):
        name = f"{package}.{folder} has layers"
        yield ImportRule(
            name, "layers", (f"{package}.{folder}",), layers=tuple(filter(None, present))
        )


def _is_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").exists() or (folder / name).is_dir()


def _rules_inside(member: Member, package: str) -> Iterator[ImportRule]:
    """Yield the rules of imports between the modules of one service."""

    def present(names: Iterable[str]) -> tuple[str, ...]:
        folder = member.source_root / package
        return tuple(f"{package}.{name}" for name in names if _is_module(folder, name))

    inner, outer = present(_INNER), present(_OUTER)
    if inner and outer:
        yield ImportRule(f"{package}: rules and tables know no caller", "forbidden", inner, outer)
    for domain in present(("domain",)):
        yield ImportRule(
            f"{package}: the domain does no I/O",
            "forbidden",
            (domain,),
            (*present(("tables", "migrations", "settings")), "chassis", *_INPUT_OUTPUT),
            direct_only=True,
            allowed=(f"{domain} -> chassis.errors",),
        )


# Import-linter's key for the modules of a rule, by the rule's type.
_KEYS = {
    "acyclic_siblings": "ancestors",
    "forbidden": "source_modules",
    "independence": "modules",
    "layers": "containers",
}


def to_toml(packages: Sequence[str], rules: Iterable[ImportRule]) -> str:
    """Return the rules as a configuration of import-linter."""
    lines = [
        "[tool.importlinter]",
        f"root_packages = {_array(packages)}",
        "include_external_packages = true",
    ]
    for rule in rules:
        lines += ["[[tool.importlinter.contracts]]", f'name = "{rule.name}"']
        lines += [f'type = "{rule.type}"', f"{_KEYS[rule.type]} = {_array(rule.modules)}"]
        if rule.layers:
            lines += [f"layers = {_array(rule.layers)}", "exhaustive = true"]
        if rule.forbidden:
            lines += [f"forbidden_modules = {_array(rule.forbidden)}"]
        if rule.direct_only:
            lines += ["allow_indirect_imports = true"]
        if rule.allowed:
            lines += [f"ignore_imports = {_array(rule.allowed)}"]
            lines += ['unmatched_ignore_imports_alerting = "none"']
    return "\n".join(lines) + "\n"


def foreign_imports_of_tests(workspace: Workspace) -> Iterator[str]:
    """Yield each import in the platform's tests of a member above it, as `file:line: what`."""
    localservers = workspace.localservers
    allowed = {
        localservers: (),
        workspace.chassis: (localservers,),
        workspace.devkit: (workspace.chassis, localservers),
    }
    packages = set(_packages(workspace.members))
    for member, below in allowed.items():
        beyond = packages - set(_packages((member, *below)))
        for file in sorted((member.path / "tests").rglob("*.py")):
            for line, name in _imports(file):
                if name.split(".")[0] in beyond:
                    place = f"{file.relative_to(workspace.root)}:{line}"
                    yield f"{place}: a test of {member.name} imports {name}"


def _imports(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


def _packages(members: Iterable[Member]) -> tuple[str, ...]:
    return tuple(package for member in members for package in member.packages)


def _array(items: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"
