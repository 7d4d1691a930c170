"""gRPC over TLS: who serves and who calls is known by certificates, renewed while they run."""

from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import structlog
from books_rpc import Servers, raw_channel
from bookshop import eventually
from certificates import Authority

from bookstore.v1 import (
    BooksService,
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import ServiceSettings, Unavailable
from chassis.rpc import Clients
from chassis.rpc.security import problems
from chassis.rpc.server import RpcServer


class Shelf:
    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        return GetBookResponse()

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        return SellBookResponse()


async def served(rpc: Servers, *, port: int = 0, **settings: Any) -> RpcServer:
    return await rpc.start(Shelf, settings=ServiceSettings(grpc_port=port, **settings))


async def asked(port: int, **settings: Any) -> None:
    """One call; raises what it does."""
    clients = calling(port, **settings)
    try:
        await stub_of(clients).GetBook(GetBookRequest())
    finally:
        await clients.close()


def calling(port: int, **settings: Any) -> Clients:
    targets = {"bookstore": f"ipv4:127.0.0.1:{port}"}
    given = ServiceSettings(targets=targets, call_timeout_seconds=30, **settings)
    return Clients("gateway", [BooksService], given)


def stub_of(clients: Clients) -> BooksServiceAsyncStub:
    return clients.stub(BooksService, BooksServiceStub)  # type: ignore[return-value]


async def test_only_clients_that_trust_its_certificate_can_call_a_server(
    rpc: Servers, tmp_path: Path
) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    pair = ours.issue("127.0.0.1")
    server = await served(
        rpc, grpc_tls_certificate_file=pair.certificate, grpc_tls_key_file=pair.key
    )
    await asked(server.port, call_tls_ca_file=ours.ca)
    for settings in ({"call_tls_ca_file": others.ca}, {"call_tls": True}, {}):
        with structlog.testing.capture_logs() as lines, pytest.raises(Unavailable):
            await asked(server.port, **settings)
        (told,) = (x for x in lines if x["event"] == "called service is unavailable")
        assert "CERTIFICATE_VERIFY_FAILED" in told["reason"] or not settings
    async with raw_channel(server.port) as channel:
        plain: BooksServiceAsyncStub = BooksServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await plain.GetBook(GetBookRequest())


async def test_a_caller_without_the_required_certificate_is_refused(
    rpc: Servers, tmp_path: Path
) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    pair, own, foreign = ours.issue("127.0.0.1"), ours.issue("gateway"), others.issue("gateway")
    server = await served(
        rpc,
        grpc_tls_certificate_file=pair.certificate,
        grpc_tls_key_file=pair.key,
        grpc_tls_client_ca_file=ours.ca,
    )
    trusts = {"call_tls_ca_file": ours.ca}
    shows = {"call_tls_certificate_file": own.certificate, "call_tls_key_file": own.key}
    await asked(server.port, **trusts, **shows)
    wrong = {"call_tls_certificate_file": foreign.certificate, "call_tls_key_file": foreign.key}
    for settings in (trusts, trusts | wrong):
        with pytest.raises(Unavailable):
            await asked(server.port, **settings)


async def test_the_certificates_name_may_differ_from_the_target(
    rpc: Servers, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("books.internal")
    server = await served(
        rpc, grpc_tls_certificate_file=pair.certificate, grpc_tls_key_file=pair.key
    )
    trusts = {"call_tls_ca_file": authority.ca}
    await asked(server.port, **trusts, call_tls_server_name="books.internal")
    with pytest.raises(Unavailable):
        await asked(server.port, **trusts)


async def test_both_sides_use_renewed_files_for_their_next_connections(
    rpc: Servers, tmp_path: Path
) -> None:
    """Another authority's, written by halves; calls continue meanwhile."""
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    ca, certificate, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(authority: Authority) -> None:
        pair = authority.issue("127.0.0.1")
        ca.write_bytes(authority.ca.read_bytes())
        certificate.write_bytes(pair.certificate.read_bytes())
        key.write_bytes(pair.key.read_bytes())

    write(first)
    server = await served(rpc, grpc_tls_certificate_file=certificate, grpc_tls_key_file=key)
    clients = calling(server.port, call_tls_ca_file=ca)
    books = stub_of(clients)
    await books.GetBook(GetBookRequest())

    certificate.write_bytes(second.issue("127.0.0.1").certificate.read_bytes()[:200])
    await asked(server.port, call_tls_ca_file=first.ca)

    write(second)
    await asked(server.port, call_tls_ca_file=second.ca)
    with pytest.raises(Unavailable):
        await asked(server.port, call_tls_ca_file=first.ca)

    # The client's own connections from now on trust the second alone.
    await server.stop(0)
    await served(
        rpc, port=server.port, grpc_tls_certificate_file=certificate, grpc_tls_key_file=key
    )

    async def is_called() -> bool:
        await books.GetBook(GetBookRequest())
        return True

    await eventually(is_called)
    await clients.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"grpc_tls_certificate_file": "CERTIFICATE"},
            "APP_GRPC_TLS_KEY_FILE: is required with APP_GRPC_TLS_CERTIFICATE_FILE",
        ),
        (
            {"grpc_tls_client_ca_file": "CERTIFICATE"},
            "APP_GRPC_TLS_CERTIFICATE_FILE: is required with APP_GRPC_TLS_CLIENT_CA_FILE",
        ),
        (
            {"grpc_tls_certificate_file": "CERTIFICATE", "grpc_tls_key_file": "OTHER"},
            "APP_GRPC_TLS_CERTIFICATE_FILE: does not match APP_GRPC_TLS_KEY_FILE",
        ),
        (
            {"call_tls_ca_file": "/no/such.pem"},
            "APP_CALL_TLS_CA_FILE: /no/such.pem cannot be read: No such file or directory",
        ),
        ({"call_tls_ca_file": "OTHER"}, "APP_CALL_TLS_CA_FILE: holds no certificate"),
        (
            {"call_tls_key_file": "OTHER"},
            "APP_CALL_TLS_CERTIFICATE_FILE: is required with APP_CALL_TLS_KEY_FILE",
        ),
    ],
)
def test_each_wrong_setting_is_one_line(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    authority = Authority(tmp_path)
    stands_for = {
        "CERTIFICATE": str(authority.issue("one").certificate),
        "OTHER": str(authority.issue("other").key),
    }
    given: dict[str, Any] = {name: stands_for.get(v, v) for name, v in settings.items()}
    (line,) = problems(ServiceSettings(**given))
    assert line.startswith(said)
