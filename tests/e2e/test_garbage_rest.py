"""Whatever is sent to the REST surface, it answers as its own OpenAPI document says."""

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from storefront import Storefront

from devkit.platform import Platform

pytestmark = [
    pytest.mark.xdist_group("shop"),
    pytest.mark.usefixtures("whatever_was_taken_reaches_its_end"),
]

LIKE_THE_DOCUMENT, UNLIKE_IT = schemathesis.GenerationMode
OPERATIONS = [
    ("GET", "/products", LIKE_THE_DOCUMENT),
    ("GET", "/products", UNLIKE_IT),
    ("GET", "/products/{sku}", LIKE_THE_DOCUMENT),
    ("POST", "/orders", LIKE_THE_DOCUMENT),
    ("POST", "/orders", UNLIKE_IT),
    ("GET", "/orders", LIKE_THE_DOCUMENT),
    ("GET", "/orders", UNLIKE_IT),
    ("GET", "/orders/{order_id}", LIKE_THE_DOCUMENT),
    ("GET", "/orders/{order_id}/events", LIKE_THE_DOCUMENT),
    ("GET", "/orders/{order_id}/events", UNLIKE_IT),
]
AS_DOCUMENTED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25


async def _product(platform: Platform) -> str:
    async with Storefront(platform) as shop:
        return await shop.product(stock=10**9)


@pytest.mark.parametrize(("method", "path", "kind"), OPERATIONS)
def test_every_answer_is_a_documented_one(
    platform: Platform, method: str, path: str, kind: schemathesis.GenerationMode
) -> None:
    sku = asyncio.run(_product(platform))
    url = platform.url("gateway")
    session = requests.Session()
    session.trust_env = False
    document = schemathesis.openapi.from_dict(session.get(f"{url}/openapi.json").json())

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=document[path][method].as_strategy(generation_mode=kind))
    def ask(case: schemathesis.Case[Any]) -> None:
        _offer(case.body, sku)
        answer = case.call(base_url=url, session=session, timeout=30)
        case.validate_response(answer, checks=AS_DOCUMENTED)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["status"] == answer.status_code

    with session:
        ask()


def _offer(body: object, sku: str) -> None:
    """Let some lines ask for what there is, or no order would ever be placed."""
    if isinstance(body, dict) and isinstance(lines := body.get("lines"), list):
        for line in lines:
            if isinstance(line, dict) and isinstance(asked := line.get("sku"), str):
                line["sku"] = sku if len(asked) % 4 else asked
