"""The broker with least privilege: the platform works, and no key may do more than it needs.

The tests use one platform whose services have a key each, and streams that the release has made.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
import trustme
from forked_python import run_module
from nats.aio.client import Client
from running_platform import running

from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from devkit.broker.keys import make_keys
from devkit.broker.permissions import permissions_of_all
from devkit.describing.description import PlatformDescription
from devkit.describing.reading import describe_platform
from devkit.platform import Platform, PlatformOptions
from devkit.workspace import find_workspace
from localservers import NatsServer

pytestmark = [pytest.mark.xdist_group("broker"), pytest.mark.timeout(300)]

WORKSPACE = find_workspace(Path(__file__))
SERVICES = sorted(name for each in WORKSPACE.services for name in each.service_entry_points)
MEMBERS = "slipway-members"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    options = PlatformOptions(
        data=tmp_path_factory.mktemp("broker"),
        free_ports=True,
        restart=False,
        broker_keys=True,
        environment={"APP_LOG_FORMAT": "json"},
    )
    with running(options) as platform:
        yield platform


class Attempts:
    """The connection of one key, and the broker's refusals."""

    def __init__(self, client: Client, refused: list[str]) -> None:
        self.client = client
        self._refused = refused

    async def may_publish(self, subject: str) -> bool:
        before = len(self._refused)
        await self.client.publish(subject, b"{}")
        await self._answered()
        return not self._newly_refused(before, f'publish to "{subject}"')

    async def may_subscribe(self, subject: str) -> bool:
        before = len(self._refused)
        subscription = await self.client.subscribe(subject)
        await self._answered()
        refused = self._newly_refused(before, f'subscription to "{subject}"')
        await subscription.unsubscribe()
        return not refused

    async def api(self, request: str, body: object = None) -> Any:
        """Return the answer of the JetStream API."""
        payload = json.dumps(body).encode() if body is not None else b""
        return json.loads((await self.client.request(f"$JS.API.{request}", payload)).data)

    async def _answered(self) -> None:
        """Wait for the broker's reaction: the client's first PING may overtake unwritten data, the
        second cannot."""
        await self.client.flush()
        await self.client.flush()

    def _newly_refused(self, before: int, what: str) -> bool:
        assert all("permissions violation" in text for text in self._refused)
        return any(what.lower() in text for text in self._refused[before:])


@asynccontextmanager
async def connected(platform: Platform, name: str) -> AsyncIterator[Attempts]:
    """Connect as this service, or as the release, with its own key."""
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error).lower())

    client = await nats.connect(
        platform.broker.url,
        nkeys_seed=str(platform.data / "keys" / f"{name}.nk"),
        inbox_prefix=f"_INBOX.{name}",
        error_cb=note,
    )
    try:
        yield Attempts(client, refused)
    finally:
        await client.close()


@pytest.mark.long
async def test_a_whole_demo_holds_every_law_and_no_service_asks_for_more_than_is_allowed(
    platform: Platform,
) -> None:
    at = [f"--at=gateway={platform.url('gateway')}"]
    at += [
        f"--at={process.service}={process.grpc_address}"
        for process in platform.processes
        if process.grpc_port is not None
    ]
    demo = await asyncio.to_thread(
        run_module, "demo", "--baskets", "120", *at, environment=os.environ
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "✓ every order ends once" in demo.stdout
    assert "Violation" not in platform.broker.log.read_text(encoding="utf-8")
    async with httpx.AsyncClient() as http:
        for process in platform.processes:
            told = (await http.get(f"{process.http_url}/readyz")).json()
            assert (process.name, told["status"]) == (process.name, "ready")


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_may_not_change_any_stream(platform: Platform, name: str) -> None:
    before = await state_of_streams(platform)
    async with connected(platform, name) as service:
        for stream in [*owners(), MEMBERS, "new"]:
            for request in (
                "CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.DELETE",
                "LEADER.STEPDOWN",
            ):  # fmt: skip
                assert not await service.may_publish(f"$JS.API.STREAM.{request}.{stream}")
    assert await state_of_streams(platform) == before


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_lists_no_streams_and_reads_only_those_it_needs(
    platform: Platform, name: str
) -> None:
    reads = streams_read_by(name)
    async with connected(platform, name) as service:
        for request in ("INFO", "STREAM.NAMES", "STREAM.LIST", "META.LEADER.STEPDOWN"):
            assert not await service.may_publish(f"$JS.API.{request}")
        for stream in owners():
            for request in ("LIST", "NAMES", "INFO", "DURABLE.CREATE"):
                subject = f"$JS.API.CONSUMER.{request}.{stream}.x"
                assert not await service.may_publish(subject)
            own = stream == name
            for request in ("STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET"):
                allowed = await service.may_publish(f"$JS.API.{request}.{stream}")
                assert allowed == (own or stream in reads), (request, stream)
            assert not await service.may_publish(f"$JS.API.DIRECT.GET.{stream}.{a_type(stream)}.0")
            for request in ("CREATE", "MSG.NEXT", "DELETE"):
                allowed = await service.may_publish(f"$JS.API.CONSUMER.{request}.{stream}.x")
                assert allowed == (stream in reads), (request, stream)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_may_not_speak_for_another(platform: Platform, name: str) -> None:
    async with connected(platform, name) as service:
        for other in set(SERVICES) - {name}:
            assert not await service.may_publish(f"slipway.members.{other}.forged")
            assert not await service.may_publish(f"slipway.operator.{other}")
            assert not await service.may_publish(f"_INBOX.{other}.x")
        for owner in set(owners()) - {name}:
            assert not await service.may_publish(f"{a_type(owner)}.0")
        for subject in ("anything", "$SYS.REQ.SERVER.PING", "$JS.ACK.orders.x.1.1.1.1.1"):
            assert not await service.may_publish(subject)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_may_not_listen_to_others(platform: Platform, name: str) -> None:
    described = platform_described().service(name)
    assert described is not None
    heard = {each.type for each in described.subscribes if each.kind == "broadcast"}
    async with connected(platform, name) as service:
        for subject in (
            ">",
            "*",
            "_INBOX.>",
            "_INBOX.*.*",
            "$JS.>",
            "$SYS.>",
            "slipway.>",
            "shop.>",
        ):
            assert not await service.may_subscribe(subject)
        for other in {*SERVICES, "release"} - {name}:
            for subject in ("_INBOX.{}.>", "slipway.members.{}.*", "slipway.operator.{}",
                            "slipway.relay.{}", "slipway.resend.{}"):  # fmt: skip
                assert not await service.may_subscribe(subject.format(other))
        for owner in platform_described().services:
            for type in owner.publishes:
                assert await service.may_subscribe(f"{type}.*") == (type in heard)


async def test_the_release_makes_streams_and_may_not_delete_or_read_them(
    platform: Platform,
) -> None:
    before = await state_of_streams(platform)
    async with connected(platform, "release") as release:
        assert sorted(before) == sorted([*owners(), MEMBERS])
        for stream in (*owners(), MEMBERS):
            for request in ("DELETE", "PURGE", "MSG.DELETE", "MSG.GET", "SNAPSHOT"):
                assert not await release.may_publish(f"$JS.API.STREAM.{request}.{stream}")
            assert not await release.may_publish(f"$JS.API.DIRECT.GET.{stream}")
            assert not await release.may_publish(f"$JS.API.CONSUMER.CREATE.{stream}.x")
        assert not await release.may_publish("$JS.API.STREAM.CREATE.another")
        assert not await release.may_publish(f"{a_type(owners()[0])}.0")
        for subject in (">", "_INBOX.>", f"{a_type(owners()[0])}.*"):
            assert not await release.may_subscribe(subject)
    assert await state_of_streams(platform) == before


async def test_a_key_that_the_broker_does_not_know_is_refused(
    platform: Platform, tmp_path: Path
) -> None:
    (stranger,) = make_keys(tmp_path, ["orders"])
    for seed_file in (stranger.seed_file, None):
        options = NatsOptions(platform.broker.url, nkey_seed_file=seed_file)
        with pytest.raises(nats.errors.Error, match="Authorization"):
            async with connection(options, "stranger"):
                pass


async def test_streams_are_made_by_no_other_key_than_the_releases(
    platform: Platform, tmp_path: Path
) -> None:
    (stranger,) = make_keys(tmp_path, ["orders"])
    (orders,) = platform.of("orders")
    apply = ("orders", "broker", "apply", "--wait", "0")
    environment = orders.environment | {"APP_NATS_NKEY_SEED_FILE": str(stranger.seed_file)}
    done = await asyncio.to_thread(run_module, *apply, environment=environment)
    assert done.returncode == 69
    assert "Authorization Violation" in done.stderr
    # The broker knows a service's own key, which may not create streams.
    done = await asyncio.to_thread(run_module, *apply, environment=orders.environment)
    assert done.returncode == 69
    assert "this takes the key of the release" in done.stderr


@pytest.mark.long
def test_all_streams_are_made_over_tls_from_what_slipway_prints(tmp_path: Path) -> None:
    """The commands of docs/deploying.md make keys, permissions and streams, with a private
    authority."""

    def slipway(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("APP_")}
        return run_module("devkit", *arguments, environment=inherited | variables)

    ours, others = trustme.CA(), trustme.CA()
    for name, authority in (("ours", ours), ("others", others)):
        authority.cert_pem.write_to_path(str(tmp_path / f"{name}.crt"))
    ours.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "tls"))
    keys = tmp_path / "keys"
    assert slipway("broker", "keys", "--out", str(keys)).returncode == 0
    permissions = slipway("broker", "permissions", "--keys", str(keys)).stdout
    tls = f'tls {{ cert_file: "{tmp_path}/tls", key_file: "{tmp_path}/tls" }}\n'
    with NatsServer(tmp_path / "nats", config=permissions + tls) as broker:
        variables = {
            "APP_NATS_URL": broker.url.replace("nats://", "tls://"),
            "APP_NATS_NKEY_SEED_FILE": str(keys / "release.nk"),
        }
        for name, code, said in (
            ("others", 69, "certificate verify failed"),
            ("ours", 0, ""),
        ):
            trusted = {"APP_NATS_TLS_CA_FILE": str(tmp_path / f"{name}.crt")}
            done = slipway("broker", "apply", "--wait", "0", **variables, **trusted)
            assert done.returncode == code, done.stderr
            assert said in done.stderr
            for owner in owners():
                assert (f"stream {owner}" in done.stdout) == (code == 0)


async def test_what_a_service_is_asked_to_answer_goes_to_inboxes_only(platform: Platform) -> None:
    """A service that may answer requests must not publish on behalf of the client that asks."""
    before = await state_of_streams(platform)
    question = {
        "subject": f"{a_type('orders')}.0", "first": 1, "last": 1, "generation": "", "below_rank": 1
    }  # fmt: skip
    body = json.dumps(question).encode()
    async with connected(platform, "payments") as payments:
        for reply in (
            "$JS.API.STREAM.DELETE.orders",
            f"{a_type('orders')}.0",
            "slipway.operator.orders",
        ):
            await payments.client.publish("slipway.resend.orders", body, reply=reply)
        # The answer to a valid request comes after those.
        answer = await payments.client.request("slipway.resend.orders", body, timeout=30)
    assert "slipway-resend-end" in (answer.headers or {})
    assert await state_of_streams(platform) == before


def test_each_service_is_allowed_what_its_committed_file_says() -> None:
    allowed = permissions_of_all(platform_described())
    for service in platform_described().services:
        file = WORKSPACE.root / service.folder / "deploy/nats-permissions.json"
        committed = json.loads(file.read_text(encoding="utf-8"))
        assert committed["publish"] == list(allowed[service.name].publish)
        assert committed["subscribe"] == list(allowed[service.name].subscribe)


@cache
def platform_described() -> PlatformDescription:
    return describe_platform(WORKSPACE)


def owners() -> list[str]:
    return [service.name for service in platform_described().services if service.publishes]


def a_type(owner: str) -> str:
    service = platform_described().service(owner)
    assert service is not None
    return service.publishes[0]


def streams_read_by(name: str) -> set[str]:
    service = platform_described().service(name)
    assert service is not None
    return {s.producer for s in service.subscribes if s.kind != "broadcast" and s.producer}


async def state_of_streams(platform: Platform) -> dict[str, Any]:
    """Return the configuration and last sequence of each stream.

    The members' stream has no sequence here, because members announce themselves all the time.
    """
    async with connected(platform, "release") as release:
        names = (await release.api("STREAM.NAMES"))["streams"]
        infos = {name: await release.api(f"STREAM.INFO.{name}") for name in names}
    return {
        name: (info["config"], None if name == MEMBERS else info["state"]["last_seq"])
        for name, info in infos.items()
    }
