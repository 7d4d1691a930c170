"""docker/compose.yaml on a real engine: restricted containers, the laws through faults, a clean
end."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from demo.catalog import from_sample
from demo.compose_command import addresses_of
from demo.laws import check
from demo.ledgers import read_ledgers
from demo.remote_platform import RemotePlatform
from demo.replay import replay
from demo.seed import load_products
from demo.settle import wait_ended
from devkit.compose.ports import free_ports
from devkit.compose.project import Project
from devkit.compose.secrets import make_secrets
from devkit.describing.description import PlatformDescription
from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.images.build import Order, build_image, pick_members
from devkit.images.docker import docker
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800), pytest.mark.xdist_group("compose")]

TAG = "compose-test"
ROOT = Path(__file__).parents[2]
JOB_AS_ROOT = "nats-volume"


def of_docker(*arguments: str) -> str:
    done = subprocess.run([docker(), *arguments], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    try:
        client = docker()
    except DevkitError as error:
        pytest.skip(str(error))
    for arguments in (("version",), ("compose", "version")):
        tried = subprocess.run([client, *arguments], capture_output=True, encoding="utf-8")
        if tried.returncode != 0:
            pytest.skip(f"docker {' '.join(arguments)}: {tried.stderr.strip()}")


@pytest.fixture(scope="module")
def platform() -> PlatformDescription:
    return describe_platform(find_workspace(ROOT))


@pytest.fixture(scope="module")
def project(platform: PlatformDescription) -> Iterator[Project]:
    """The running project on ports of its own, which is removed with its volumes."""
    workspace = find_workspace(ROOT)
    make_secrets(platform, ROOT / "docker/.secrets")
    for member in pick_members(workspace, ()):
        build_image(workspace, member, Order(TAG))
    project = Project(
        ROOT, f"slipway-test-{token_hex(3)}", free_ports(platform.services) | {"SLIPWAY_TAG": TAG}
    )
    try:
        project.up()
        yield project
    finally:
        project.down(volumes=True)


@pytest.fixture
def addresses(project: Project, platform: PlatformDescription) -> RemotePlatform:
    return addresses_of(project, platform)


def containers(project: Project) -> dict[str, Any]:
    """Return the engine's description of each container, by its service."""
    ids = project.run("ps", "--all", "--quiet").split()
    found: list[Any] = json.loads(of_docker("inspect", *ids))
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}


def test_no_container_has_a_privilege_or_a_writable_file(project: Project) -> None:
    for service, container in containers(project).items():
        host = container["HostConfig"]
        assert (service, host["ReadonlyRootfs"]) == (service, True)
        assert (service, host["CapDrop"]) == (service, ["ALL"])
        assert (service, host["SecurityOpt"]) == (service, ["no-new-privileges:true"])
        assert (service, host["Privileged"]) == (service, False)
        if service != JOB_AS_ROOT:
            assert container["Config"]["User"].split(":")[0] not in ("", "0", "root"), service


def test_what_stays_has_a_limit_of_memory_and_what_ends_has_ended_well(project: Project) -> None:
    for service, container in containers(project).items():
        if container["State"]["Running"]:
            assert container["HostConfig"]["Memory"] > 0, service
        else:
            assert (service, container["State"]["ExitCode"]) == (service, 0)


def test_no_password_is_a_variable_of_a_service(
    project: Project, platform: PlatformDescription
) -> None:
    folder = ROOT / "docker/.secrets/databases"
    passwords = [file.read_text(encoding="utf-8") for file in folder.rglob("*") if file.is_file()]
    assert len(passwords) == len(set(passwords)) >= 2
    found = containers(project)
    for service in platform.services:
        shown = json.dumps(found[service.name])
        assert [password for password in passwords if password in shown] == []


def test_a_service_may_change_rows_and_no_table(project: Project) -> None:
    url = (ROOT / "docker/.secrets/orders/service/APP_DATABASE_URL").read_text(encoding="utf-8")
    others = url.removesuffix("/orders") + "/payments"

    def psql(statement: str, at: str = url) -> str:
        return project.run("exec", "-T", "postgres", "psql", "-tA", at, "-c", statement)

    assert psql("SELECT count(*) >= 0 FROM orders").strip() == "t"
    for statement in ("CREATE TABLE x (y int)", "DROP TABLE orders", "TRUNCATE orders"):
        with pytest.raises(DevkitError, match=r"permission denied|must be owner"):
            psql(statement)
    with pytest.raises(DevkitError, match="permission denied for database"):
        psql("SELECT 1", others)


async def test_the_laws_hold_though_a_service_and_the_broker_are_killed(
    project: Project, addresses: RemotePlatform
) -> None:
    selection = from_sample(60)
    await load_products(addresses.of("inventory")[0].grpc_address, selection.catalog)
    fault = asyncio.create_task(asyncio.to_thread(kill_and_start, project, "orders", "nats"))
    record = await replay(addresses.gateways, selection.baskets(), 8, patience=300)
    await fault
    await wait_ended(addresses, patience=300)
    laws = check(record, await read_ledgers(addresses), selection.catalog)
    assert [case for law in laws for case in law.broken] == []


def kill_and_start(project: Project, *services: str) -> None:
    """Kill the services, recreate their containers, but keep their volumes."""
    for service in services:
        project.run("kill", "--signal", "SIGKILL", service)
        project.run("rm", "--force", service)
        project.run("up", "--detach", "--no-deps", service)


def test_down_leaves_nothing(project: Project) -> None:
    """This is the last test, because the others need the running project."""
    project.down(volumes=True)
    of_project = f"label=com.docker.compose.project={project.name}"
    assert of_docker("ps", "--all", "--quiet", "--filter", of_project) == ""
    assert of_docker("volume", "ls", "--quiet", "--filter", of_project) == ""
    assert of_docker("network", "ls", "--quiet", "--filter", of_project) == ""


def copy_files(folder: Path) -> None:
    """Copy Compose's files as they are committed."""
    for name in ("docker", "services"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(folder)], check=True)
    subprocess.run(["rm", "-rf", str(folder / "docker/.secrets")], check=True)


def test_what_differs_on_a_machine_goes_into_the_override(
    platform: PlatformDescription, tmp_path: Path
) -> None:
    copy_files(tmp_path)
    make_secrets(platform, tmp_path / "docker/.secrets")
    override = {"services": {"orders": {"environment": {"APP_ORDER_TIMEOUT_SECONDS": "7"}}}}
    (tmp_path / "docker/compose.override.yaml").write_text(json.dumps(override), encoding="utf-8")
    services = json.loads(Project(tmp_path).run("config", "--format=json"))["services"]
    assert services["orders"]["environment"]["APP_ORDER_TIMEOUT_SECONDS"] == "7"


def test_without_the_passwords_compose_says_what_is_missing(tmp_path: Path) -> None:
    copy_files(tmp_path)
    with pytest.raises(DevkitError, match=r"\.secrets/postgres\.env"):
        Project(tmp_path).run("config", "--quiet")


def test_with_observability_every_service_sends_its_traces_there(
    platform: PlatformDescription,
) -> None:
    for profile, endpoint in (("", ""), ("observability", "http://collector:4317")):
        project = Project(ROOT, environment={**os.environ, "COMPOSE_PROFILES": profile})
        services = json.loads(project.run("config", "--format=json"))["services"]
        assert {
            services[each.name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
            for each in platform.services
        } == {endpoint}
