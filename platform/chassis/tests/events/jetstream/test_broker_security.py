"""Both connections of a service authenticate to the broker, over TLS if that is configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from bookshop import Node, TestSettings, eventually
from certificates import Authority, Pair
from nats.aio.transport import TcpTransport
from nats_keys import Operator, user_key

from bookstore.v1 import BookSold
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.nats_settings import find_problems
from chassis.events.jetstream.streams import stream_state
from localservers import NatsServer


@asynccontextmanager
async def shop_at(url: str, folder: Path, **settings: Any) -> AsyncIterator["Shop"]:
    """Run a service that publishes, with these broker settings."""
    node = Node(
        "bookstore",
        f"sqlite:///{folder}/shop.db",
        url,
        publishes=[BookSold],
        settings=TestSettings(**settings),
    )
    async with node:
        yield Shop(node, url)


class Shop:
    def __init__(self, node: Node, url: str) -> None:
        self.node = node
        self.options = NatsOptions.of(url, node.settings)
        self._sold = 0

    async def sell(self) -> None:
        """Publish an event; wait until it is stored and the service's other connection works."""
        self._sold += 1
        await self.node.publish(BookSold(book_id="1", customer_id="me"))

        async def is_stored() -> bool:
            async with connection(self.options, "view") as client:
                stored = (await stream_state(client, "bookstore")).messages == self._sold
                return stored and self.node.path.broker_connected()

        await eventually(is_stored)


def tls(pair: Pair, ca: Path | None = None, more: str = "") -> str:
    files = f'cert_file: "{pair.certificate}", key_file: "{pair.key}"'
    verify = f', ca_file: "{ca}", verify: true' if ca else ""
    return f"tls {{ {files}{verify}, timeout: 10{more} }}\n"


@pytest.mark.parametrize("by", ["user", "token", "nkey", "credentials"])
async def test_a_service_authenticates(tmp_path: Path, by: str) -> None:
    file = tmp_path / "secret"
    settings: dict[str, Any]
    if by == "user":
        config = "authorization { user: shop, password: s3cret }\n"
        settings = {"nats_user": "shop", "nats_password": "s3cret"}
    elif by == "token":
        config = "authorization { token: s3cret }\n"
        settings = {"nats_token": "s3cret"}
    elif by == "nkey":
        key = user_key()
        file.write_bytes(key.seed + b"\n")
        config = f"authorization {{ users: [{{ nkey: {key.public} }}] }}\n"
        settings = {"nats_nkey_seed_file": str(file)}
    else:
        operator = Operator()
        config = operator.config
        file.write_text(operator.credentials(), encoding="utf-8")
        settings = {"nats_credentials_file": str(file)}
    with NatsServer(tmp_path / "nats", config=config) as nats:
        assert list(find_problems(nats.url, TestSettings(**settings))) == []
        async with shop_at(nats.url, tmp_path, **settings) as shop:
            await shop.sell()
        refused = await refusal(nats.url, tmp_path / "unknown")
    assert "Authorization Violation" in refused


async def test_the_log_names_what_may_keep_a_broker_silent(
    tmp_path: Path,
) -> None:
    async def says_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        said = await refusal(f"nats://127.0.0.1:{port}", tmp_path / "shop")
    finally:
        server.close()
        for writer in silent:
            writer.close()
    assert "NetworkPolicy" in said
    assert "appProtocol: tcp" in said


async def test_a_refusal_is_explained_behind_a_proxy_that_drops_what_a_reset_overtakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sidecar of a mesh is such a proxy; a PING that the broker never reads is the reset."""

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload": 1048576}\r\n')
        if b"PING" in await reader.read(4096):
            writer.write(b"-ERR 'Authorization Violation'\r\n")
            writer.close()
        else:
            writer.transport.abort()

    async def is_slow(_: TcpTransport) -> None:
        await asyncio.sleep(0.1)

    # A busy machine may delay the client between any two of its writes.
    monkeypatch.setattr(TcpTransport, "drain", is_slow)
    server = await asyncio.start_server(refuses, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        said = await refusal(f"nats://127.0.0.1:{port}", tmp_path / "shop")
    finally:
        server.close()
    assert "Authorization Violation" in said


async def refusal(url: str, folder: Path, **settings: Any) -> str:
    """Return the logged error of a broker that refuses the service."""
    folder.mkdir(exist_ok=True)
    errors: list[str] = []

    async def is_logged() -> bool:
        errors[:] = [
            str(line["error"])
            for line in lines
            if line["event"] == "connecting to the broker failed; retrying"
        ]
        return bool(errors)

    with structlog.testing.capture_logs() as lines:
        async with shop_at(url, folder, **settings) as shop:
            await eventually(is_logged)
            assert not shop.node.path.broker_connected()
    assert not any("s3cret" in str(line) for line in lines)
    return errors[0]


async def test_broker_and_service_authenticate_by_their_certificates(
    tmp_path: Path,
) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    own, foreign = ours.issue("shop"), others.issue("shop")
    config = tls(ours.issue("127.0.0.1"), ours.ca)
    shows = {"nats_tls_certificate_file": own.certificate, "nats_tls_key_file": own.key}
    with NatsServer(tmp_path / "nats", config=config) as nats:
        async with shop_at(nats.url, tmp_path, nats_tls_ca_file=ours.ca, **shows) as shop:
            await shop.sell()
        wrong = await refusal(nats.url, tmp_path / "a", nats_tls_ca_file=others.ca, **shows)
        assert wrong.startswith("nats: certificate verify failed: ")
        assert wrong.endswith(f" has to be in APP_NATS_TLS_CA_FILE ({others.ca})")
        none = await refusal(nats.url, tmp_path / "b", nats_tls_ca_file=ours.ca)
        assert none.startswith("nats: the broker asks for a certificate: set APP_NATS_TLS_CERT")
        strange = await refusal(
            nats.url,
            tmp_path / "c",
            nats_tls_ca_file=ours.ca,
            nats_tls_certificate_file=foreign.certificate,
            nats_tls_key_file=foreign.key,
        )
        assert "refused the certificate of APP_NATS_TLS_CERTIFICATE_FILE: " in strange


@pytest.mark.parametrize("first", [False, True])
async def test_the_name_in_the_certificate_may_be_another_than_that_of_the_url(
    tmp_path: Path, first: bool
) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("broker.internal")
    config = tls(pair, more=', handshake_first: "500ms"' if first else "")
    settings = {"nats_tls_ca_file": authority.ca, "nats_tls_first": first}
    with NatsServer(tmp_path / "nats", config=config) as nats:
        async with shop_at(
            nats.url, tmp_path, nats_tls_server_name="broker.internal", **settings
        ) as shop:
            await shop.sell()
        refused = await refusal(nats.url, tmp_path / "unnamed", **settings)
    assert "certificate is not valid for" in refused
    assert refused.endswith("APP_NATS_TLS_SERVER_NAME is the name in the broker's certificate")


async def test_nothing_is_sent_to_a_broker_that_offers_no_tls(tmp_path: Path) -> None:
    config = "authorization { user: shop, password: s3cret }\n"
    user = {"nats_user": "shop", "nats_password": "s3cret"}
    authority = Authority(tmp_path / "ca")
    with NatsServer(tmp_path / "nats", config=config) as nats:
        for url, settings in (
            (nats.url, {"nats_tls_ca_file": authority.ca}),
            (nats.url.replace("nats://", "tls://"), {}),
        ):
            said = await refusal(url, tmp_path / "shop", **settings, **user)
            assert said == "nats: secure connection not available"


async def test_files_are_read_again_at_each_connect(tmp_path: Path) -> None:
    """The broker restarts with another authority and another user, and the files change as well."""
    file, ca = tmp_path / "seed", tmp_path / "ca.pem"
    nats: NatsServer | None = None

    def renewed(number: int) -> NatsServer:
        authority, key = Authority(tmp_path / f"ca-{number}"), user_key()
        pair = authority.issue("127.0.0.1")
        file.write_bytes(key.seed)
        ca.write_bytes(authority.ca.read_bytes())
        config = tls(pair) + f"authorization {{ users: [{{ nkey: {key.public} }}] }}\n"
        return NatsServer(tmp_path / "nats", nats.port if nats else 0, config=config)

    nats = renewed(1)
    nats.start()
    try:
        async with shop_at(
            nats.url, tmp_path, nats_nkey_seed_file=file, nats_tls_ca_file=ca
        ) as shop:
            await shop.sell()
            nats.stop()
            # The file looks as while it is being written.
            file.write_bytes(b"half a se")
            nats = renewed(2)
            nats.start()
            await shop.sell()
    finally:
        nats.stop()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"nats_token": "t", "nats_user": "u", "nats_password": "p"},
            "APP_NATS_TOKEN: cannot be combined with APP_NATS_USER: set one of them",
        ),
        ({"nats_user": "u"}, "APP_NATS_PASSWORD: is required with APP_NATS_USER"),
        ({"nats_password": "p"}, "APP_NATS_USER: is required with APP_NATS_PASSWORD"),
        (
            {"nats_tls_certificate_file": "CERTIFICATE"},
            "APP_NATS_TLS_KEY_FILE: is required with APP_NATS_TLS_CERTIFICATE_FILE",
        ),
        (
            {"nats_tls_ca_file": "/no/such.pem"},
            "APP_NATS_TLS_CA_FILE: /no/such.pem cannot be read: No such file or directory",
        ),
        ({"nats_tls_ca_file": "TEXT"}, "APP_NATS_TLS_CA_FILE: holds no certificate"),
        (
            {"nats_tls_certificate_file": "CERTIFICATE", "nats_tls_key_file": "OTHER"},
            "APP_NATS_TLS_CERTIFICATE_FILE: does not match APP_NATS_TLS_KEY_FILE: "
            "KEY_VALUES_MISMATCH",
        ),
        (
            {"nats_credentials_file": "TEXT"},
            "APP_NATS_CREDENTIALS_FILE: cannot be used: it has no NATS USER JWT",
        ),
        ({"nats_nkey_seed_file": "TEXT"}, "APP_NATS_NKEY_SEED_FILE: cannot be used: "),
    ],
)
def test_each_problem_of_the_settings_is_one_line(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    authority = Authority(tmp_path)
    text = tmp_path / "text"
    text.write_text("s3cret", encoding="utf-8")
    stands_for = {
        "CERTIFICATE": str(authority.issue("one").certificate),
        "OTHER": str(authority.issue("other").key),
        "TEXT": str(text),
    }
    given: dict[str, Any] = {name: stands_for.get(v, v) for name, v in settings.items()}
    (line,) = find_problems("nats://broker:4222", TestSettings(**given))
    assert line.startswith(said)
    assert "s3cret" not in line
