"""The images are as docs/deploying.md says, which is tested by building and running them."""

import io
import json
import re
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker_parts import SavedImage, docker_output, inspect, running, wait_for, written_by

from devkit.images.build import Order, build_image
from devkit.images.sbom import bill_of_materials
from devkit.services import ServiceDefinition
from devkit.workspace import Workspace, find_workspace

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

SERVICES = sorted(
    name for member in find_workspace(Path(__file__)).services
    for name in member.service_entry_points
)  # fmt: skip
UNPRIVILEGED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
# Kubernetes waits for this time by default.
GRACE_SECONDS = 30
MEGABYTE = 1_000_000


def layers(image: str) -> list[str]:
    return list(inspect(image)["RootFS"]["Layers"])


def base_of(image: str) -> str:
    return str(inspect(image)["Config"]["Labels"]["org.opencontainers.image.base.name"])


def environment(image: str) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in inspect(image)["Config"]["Env"])


def run(image: str, *command: str) -> str:
    """Return the output of a command in a new container."""
    [program, *arguments] = command
    options = ("--rm", "--entrypoint", program, *UNPRIVILEGED)
    return docker_output("run", *options, image, *arguments)


@contextmanager
def service_running(
    image: str, service: ServiceDefinition, backing: str, *options: str
) -> Iterator[str]:
    variables = {"APP_HTTP_HOST": "0.0.0.0", "APP_NATS_URL": "nats://127.0.0.1:4222"}
    if service.has_database:
        server = "postgresql+psycopg://postgres:test@127.0.0.1"
        variables["APP_DATABASE_URL"] = f"{server}/{service.name}"
    given = [f"--env={name}={value}" for name, value in variables.items()]
    with running(image, f"--network=container:{backing}", *given, *options) as container:
        yield container


def answers(backing: str, service: ServiceDefinition, path: str) -> bool:
    """Return whether the service answers this path with 200."""
    address = docker_output("port", backing, f"{service.http_port}/tcp").splitlines()[0]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stopped(container: str) -> int:
    """Stop the container, and return its exit code."""
    docker_output("stop", "--time", str(GRACE_SECONDS), container)
    return int(inspect(container)["State"]["ExitCode"])


def test_services_share_every_layer_but_the_last(images: dict[str, str]) -> None:
    shared = {tuple(layers(image)[:-1]) for image in images.values()}
    own = {layers(image)[-1] for image in images.values()}

    assert len(shared) == 1
    assert len(own) == len(images) > 1


def test_a_services_own_layer_is_less_than_a_megabyte(saved: dict[str, SavedImage]) -> None:
    sizes = {name: image.compressed_bytes(image.layers[-1]) for name, image in saved.items()}

    assert max(sizes.values()) < MEGABYTE, sizes


def test_all_above_the_base_is_less_than_60_megabytes_compressed(
    images: dict[str, str], saved: dict[str, SavedImage]
) -> None:
    image = saved[SERVICES[0]]
    above = image.layers[len(layers(base_of(images[SERVICES[0]]))) :]

    sizes = {layer: image.compressed_bytes(layer) for layer in above}
    print(json.dumps(sizes, indent=2))
    assert sum(sizes.values()) < 60 * MEGABYTE, sizes


def test_a_change_in_a_service_rebuilds_only_its_last_layer(
    workspace: Workspace, images: dict[str, str], tag: str, tmp_path: Path
) -> None:
    for name in ("contracts", "docker", "platform", "services", "pyproject.toml",
                 "requirements.lock", "requirements-dev.lock"):  # fmt: skip
        source = workspace.root / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, tmp_path / name)
    changed = Workspace(tmp_path)
    first, second, *_ = changed.services
    code = next(first.source_root.rglob("service.py"))
    code.write_text(code.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")

    [after, untouched] = [
        layers(build_image(changed, member, Order(f"{tag}-changed"))) for member in (first, second)
    ]

    before = layers(f"{first.name}:{tag}")
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]
    assert untouched == layers(f"{second.name}:{tag}")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_gets_ready_without_privileges_and_ends_well_on_sigterm(
    name: str,
    images: dict[str, str],
    definitions: dict[str, ServiceDefinition],
    backing: str,
) -> None:
    service = definitions[name]
    with service_running(images[name], service, backing, *UNPRIVILEGED) as container:
        wait_for(lambda: answers(backing, service, "/readyz"), container)

        # Process 1 runs as this user, without capabilities.
        status = docker_output("exec", container, "cat", "/proc/1/status")
        assert re.findall(r"^[UG]id:\s+(.*)$", status, re.M) == ["65532\t65532\t65532\t65532"] * 2
        assert set(re.findall(r"^Cap\w+:\s+(\w+)$", status, re.M)) == {"0" * 16}
        assert docker_output("exec", container, "cat", "/proc/1/cmdline").startswith("python\0")
        assert stopped(container) == 0


def test_an_image_sets_nothing_but_where_python_finds_its_code(images: dict[str, str]) -> None:
    for image in images.values():
        base, own = environment(base_of(image)), environment(image)
        changed = {name for name in own if own[name] != base.get(name)}
        assert changed == {"PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}


def test_an_image_has_nothing_to_install_or_compile_with(images: dict[str, str]) -> None:
    image = images[SERVICES[0]]
    tools = ("pip", "pip3", "uv", "gcc", "cc", "ld", "make", "git")

    looked = "; ".join(f"command -v {tool}" for tool in tools)
    assert run(image, "sh", "-c", f"{looked}; true") == ""
    modules = ["pip", "ensurepip", "setuptools", "uv", "pytest", "hatchling", "localservers"]
    found = f"from importlib.util import find_spec; print([m for m in {modules} if find_spec(m)])"
    assert run(image, "python", "-c", found) == "[]\n"


def test_the_code_in_an_image_has_no_tests_and_no_secrets(
    images: dict[str, str], saved: dict[str, SavedImage]
) -> None:
    for image in saved.values():
        code = [file for layer in image.layers for file in image.files(layer)
                if file.startswith(("app/", "opt/shared/"))]  # fmt: skip
        assert {Path(file).suffix for file in code} <= {".py", ".pyc", ".mako", ".typed"}
        assert [file for file in code if "test" in file.lower()] == []
        # Each file has its bytecode: nothing is compiled when a service starts.
        sources = [file for file in code if file.endswith(".py")]
        assert len(sources) == len([file for file in code if file.endswith(".pyc")]) > 100


def test_an_image_says_what_it_is(images: dict[str, str], tag: str) -> None:
    for name, image in images.items():
        config = inspect(image)["Config"]
        labels = {key.rpartition(".")[2]: value for key, value in config["Labels"].items()}
        assert labels["title"] == f"slipway-{name}"
        assert labels["version"] == tag
        assert labels["revision"]
        assert config["User"] == "65532:65532"
        assert config["Entrypoint"] == ["python", "/app"]


def test_the_bill_of_materials_has_every_package_of_the_image_and_no_other(
    workspace: Workspace, images: dict[str, str], tag: str
) -> None:
    [member] = [one for one in workspace.services if SERVICES[0] in one.service_entry_points]
    document = json.loads(bill_of_materials(workspace, member, tag))
    listed = {entry["name"]: entry["version"] for entry in document["components"]}

    code = (
        "import json; from importlib.metadata import distributions;"
        "print(json.dumps({d.name: d.version for d in distributions()}))"
    )
    installed = json.loads(run(images[SERVICES[0]], "python", "-c", code))
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in installed.items()}
    assert normal == listed


def test_a_development_image_takes_changes_outlives_errors_and_ends_well(
    development_image: str,
    definitions: dict[str, ServiceDefinition],
    backing: str,
) -> None:
    service = definitions["inventory"]
    options = ("--cap-drop", "ALL")

    def edit(text: str) -> None:
        """Copy a file into the container as Skaffold does, by the tar that is in it."""
        sent = io.BytesIO()
        with tarfile.open(fileobj=sent, mode="w") as archive:
            member = tarfile.TarInfo(f"{service.package}/edited.py")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        docker_output("exec", "--interactive", container, "tar", "-xmf", "-", "-C", "/app",
                      "--no-same-owner", stdin=sent.getvalue())  # fmt: skip

    with service_running(development_image, service, backing, *options) as container:
        wait_for(lambda: answers(backing, service, "/readyz"), container)

        edit("def broken(:\n")
        kept = "the program continues with the code before"
        wait_for(lambda: kept in written_by(container), container)
        assert answers(backing, service, "/livez")

        edit("print('edited')\n")
        wait_for(
            lambda: "restarting after a change of edited.py" in written_by(container), container
        )
        wait_for(lambda: answers(backing, service, "/readyz"), container)
        assert docker_output("exec", container, "cat", "/proc/1/cmdline").startswith("python\0")
        assert stopped(container) == 0


def test_a_development_image_runs_a_command_once(
    development_image: str, definitions: dict[str, ServiceDefinition]
) -> None:
    with running(development_image, command=("--settings",)) as container:
        assert docker_output("wait", container) == "0\n"
        port = definitions["inventory"].http_port
        assert f"APP_HTTP_PORT={port} " in written_by(container)
