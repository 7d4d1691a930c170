"""Arbitrary requests to the REST API get answers that its OpenAPI document describes."""

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
    pytest.mark.usefixtures("everything_ends"),
]

VALID, INVALID = schemathesis.GenerationMode
OPERATIONS = [
    ("GET", "/products", VALID),
    ("GET", "/products", INVALID),
    ("GET", "/products/{sku}", VALID),
    ("POST", "/orders", VALID),
    ("POST", "/orders", INVALID),
    ("GET", "/orders", VALID),
    ("GET", "/orders", INVALID),
    ("GET", "/orders/{order_id}", VALID),
    ("GET", "/orders/{order_id}/events", VALID),
    ("GET", "/orders/{order_id}/events", INVALID),
]
CHECKS = [
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
def test_every_answer_is_documented(
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
    def send(case: schemathesis.Case[Any]) -> None:
        _use_existing_product(case.body, sku)
        answer = case.call(base_url=url, session=session, timeout=30)
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert answer.json()["status"] == answer.status_code

    with session:
        send()


def _use_existing_product(body: object, sku: str) -> None:
    """Give most lines the sku of a product that exists, so that some orders are placed."""
    if isinstance(body, dict) and isinstance(lines := body.get("lines"), list):
        for line in lines:
            if isinstance(line, dict) and isinstance(generated := line.get("sku"), str):
                line["sku"] = sku if len(generated) % 4 else generated
