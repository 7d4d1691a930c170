"""A service behind a reverse proxy: links and documentation below its prefix, client addresses."""

import re
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from fastapi import APIRouter, Request
from http_app import client_for, make_app, serving
from reverse_proxy import reverse_proxy
from structlog.testing import capture_logs

from chassis import ServiceSettings
from chassis.settings_loading import SettingsInvalid, load

router = APIRouter()


@router.get("/books/{book_id}")
async def book(book_id: str, request: Request) -> dict[str, str]:
    assert request.client is not None
    return {"scheme": request.url.scheme, "client": request.client.host, "book": book_id}


BEHIND = pytest.mark.parametrize(
    ("prefix", "strip"), [("", False), ("/shop", True), ("/shop", False), ("/a/b", True)]
)


@BEHIND
async def test_the_documentation_works_below_any_prefix_without_other_hosts(
    prefix: str, strip: bool
) -> None:
    settings = ServiceSettings(http_port=0, http_root_path=prefix)
    async with (
        serving(make_app(router, settings=settings), settings) as server,
        reverse_proxy(server.port, prefix=prefix, strip=strip, forwarded={}) as url,
        httpx.AsyncClient() as client,
    ):
        page = await client.get(f"{url}/docs")
        assert page.headers["content-type"].startswith("text/html")
        named = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
        links = [urljoin(str(page.url), one or other) for one, other in named]
        assert len(links) == 4
        for link in links:
            assert urlsplit(link).netloc == urlsplit(url).netloc, "no other host is asked"
            answer = await client.get(link)
            assert answer.status_code == 200
            assert len(answer.content) > 100
        assert "http" not in re.sub(r"https?://www\.w3\.org/\S+", "", page.text)
        assert (await client.get(f"{url}/docs/core.py")).status_code == 404

        document = (await client.get(f"{url}/openapi.json")).json()
        assert document.get("servers", []) == ([{"url": prefix}] if prefix else [])
        base = urljoin(url, document["servers"][0]["url"]) if prefix else url
        (path,) = document["paths"]
        tried = await client.get(base + path.format(book_id="7"))
        assert tried.json()["book"] == "7"


@pytest.mark.parametrize("strip", [True, False])
async def test_a_request_is_measured_by_its_route_without_the_prefix(strip: bool) -> None:
    settings = ServiceSettings(http_port=0, http_root_path="/shop")
    async with client_for(make_app(router, settings=settings)) as client:
        await client.get("/books/7" if strip else "/shop/books/7")
        measured = (await client.get("/metrics")).text
    assert 'handler="/books/{book_id}"' in measured
    assert "books/7" not in measured


@pytest.mark.parametrize(
    ("trusted", "client", "scheme"),
    [
        ([], "127.0.0.1", "http"),
        (["10.0.0.0/8"], "127.0.0.1", "http"),
        (["127.0.0.1"], "203.0.113.7", "https"),
        (["127.0.0.0/8", "203.0.113.0/24"], "198.51.100.1", "https"),
    ],
)
async def test_only_a_trusted_proxy_can_name_the_client(
    trusted: list[str], client: str, scheme: str
) -> None:
    settings = ServiceSettings(http_port=0, http_trusted_proxies=trusted)
    forwarded = {
        "x-forwarded-for": "192.0.2.99, 198.51.100.1, 203.0.113.7",
        "x-forwarded-proto": "https",
    }
    async with (
        serving(make_app(router, settings=settings), settings) as server,
        reverse_proxy(server.port, prefix="", strip=True, forwarded=forwarded) as url,
        httpx.AsyncClient() as http,
    ):
        with capture_logs() as lines:
            answer = await http.get(f"{url}/books/7")
    assert answer.json() == {"scheme": scheme, "client": client, "book": "7"}
    assert [line["client"] for line in lines if "client" in line] == [client]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_HTTP_TRUSTED_PROXIES", '["*"]'),
        ("APP_HTTP_TRUSTED_PROXIES", '["proxy.example"]'),
        ("APP_HTTP_ROOT_PATH", "shop"),
        ("APP_HTTP_ROOT_PATH", "/shop/"),
    ],
)
def test_an_invalid_address_of_a_proxy_and_an_invalid_prefix_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=name):
        load(ServiceSettings)
