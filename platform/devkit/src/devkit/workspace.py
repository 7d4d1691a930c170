"""The workspace and its members, found by the globs in the root's pyproject.toml."""

import os
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from devkit.errors import DevkitError

__all__ = ["Member", "Workspace", "find_workspace"]


@dataclass(frozen=True)
class Member:
    """A distribution of the workspace: a folder with a pyproject.toml."""

    path: Path
    root: Path

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """The parsed pyproject.toml."""
        return _read_toml(self.path / "pyproject.toml")

    @property
    def name(self) -> str:
        """The distribution's name, for example `slipway-orders`."""
        return str(self.pyproject["project"]["name"])

    @property
    def version(self) -> str:
        """The distribution's version, for example `0.1.0`."""
        return str(self.pyproject["project"]["version"])

    @property
    def relative(self) -> str:
        """The folder's path, relative to the workspace's root."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def source_root(self) -> Path:
        """The folder on the import path: `src`, or the member's folder if it has no `src`."""
        source = self.path / "src"
        return source if source.is_dir() else self.path

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """The top-level packages of the distribution, sorted."""
        found = (init.parent.name for init in self.source_root.glob("*/__init__.py"))
        return tuple(sorted(name for name in found if name != "tests"))

    @property
    def tests(self) -> Path | None:
        """The folder of its tests; None if there is no test."""
        folder = self.path / "tests"
        return folder if any(folder.rglob("test_*.py")) else None

    @property
    def service_entry_points(self) -> dict[str, str]:
        """The services that it declares: names and objects, such as `orders.service:service`."""
        entry_points = self.pyproject["project"].get("entry-points", {})
        return dict(entry_points.get("slipway.services", {}))


@dataclass(frozen=True)
class Workspace:
    """The root folder and its members."""

    root: Path

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """All members, in the order of the globs of `[tool.uv.workspace]`."""
        found = [folder for folder in self._folders if (folder / "pyproject.toml").is_file()]
        return tuple(Member(path, self.root) for path in found)

    @cached_property
    def _folders(self) -> list[Path]:
        globs: list[str] = self.pyproject["tool"]["uv"]["workspace"]["members"]
        found = [path for pattern in globs for path in sorted(self.root.glob(pattern))]
        return [path for path in dict.fromkeys(found) if path.is_dir()]

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """The parsed pyproject.toml of the root."""
        return _read_toml(self.root / "pyproject.toml")

    @property
    def chassis(self) -> Member:
        """The member with the run-time library of all services."""
        return self._member_at("platform/chassis")

    @property
    def devkit(self) -> Member:
        """The member with the developer's tools."""
        return self._member_at("platform/devkit")

    @property
    def localservers(self) -> Member:
        """The member with the servers that tests and local runs start."""
        return self._member_at("platform/localservers")

    @property
    def contracts(self) -> Member | None:
        """The member with the contracts between services; None if it was deleted."""
        return next((member for member in self.members if member.relative == "contracts"), None)

    @property
    def others(self) -> tuple[Member, ...]:
        """Members other than the platform's, the contracts and the services, such as a demo."""
        known = {self.chassis, self.devkit, self.localservers, self.contracts, *self.services}
        return tuple(member for member in self.members if member not in known)

    @property
    def tests(self) -> tuple[Path, ...]:
        """The members' folders of tests, and that of tests over all services if there are any."""
        folders = [member.tests for member in self.members if member.tests]
        everywhere = self.root / "tests"
        if self.services and any(everywhere.rglob("test_*.py")):
            folders.append(everywhere)
        return tuple(folders)

    @cached_property
    def services(self) -> tuple[Member, ...]:
        """The members that declare a service.

        Raises DevkitError for a folder under services/ that declares none, because it would be
        ignored silently.
        """
        declare = tuple(member for member in self.members if member.service_entry_points)
        known = {member.path for member in declare}
        for folder in self._folders:
            of_a_service = folder.parent == self.root / "services" and (folder / "src").is_dir()
            if of_a_service and folder not in known:
                raise DevkitError(_how_to_declare(folder))
        return declare

    def _member_at(self, relative: str) -> Member:
        for member in self.members:
            if member.relative == relative:
                return member
        raise DevkitError(f"{self.root} has no member {relative}, which a platform needs")

    @property
    def state(self) -> Path:
        """The folder of local data, logs and the state of a running platform, ignored by git.

        The variable SLIPWAY_STATE names another folder, for a clone that is not writable.
        """
        return Path(os.environ.get("SLIPWAY_STATE") or self.root / ".slipway").absolute()


def find_workspace(start: Path | None = None) -> Workspace:
    """Return the workspace that contains `start`, by default the current folder.

    Raises:
        DevkitError: `start` is not in a workspace.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and "workspace" in _read_toml(file).get("tool", {}).get("uv", {}):
            return Workspace(folder)
    raise DevkitError(
        f"{here} is not in a workspace: there is no pyproject.toml with [tool.uv.workspace] in it"
        " or above it. Go to the folder of your clone."
    )


def _how_to_declare(folder: Path) -> str:
    name = folder.name
    package = next((init.parent.name for init in folder.glob("src/*/__init__.py")), name)
    return (
        f"services/{name} declares no service, so nothing runs it. Its pyproject.toml needs:\n"
        f'[project.entry-points."slipway.services"]\n{name} = "{package}.service:service"'
    )


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DevkitError(f"{file} is not valid TOML: {error}") from error
