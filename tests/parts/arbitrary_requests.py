"""Arbitrary requests for an operation of a REST API, valid or not, and checks of their answers.

The library takes long to import, so only the test that uses it imports this module.
"""

from typing import Any

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

__all__ = ["send_arbitrary"]

VALID, INVALID = schemathesis.GenerationMode
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25


def send_arbitrary(url: str, method: str, path: str, *, valid: bool, sku: str) -> None:
    """Send requests, and check that the API's own document describes each answer.

    `sku` is that of a product with stock.
    """
    session = requests.Session()
    session.trust_env = False
    document = schemathesis.openapi.from_dict(session.get(f"{url}/openapi.json").json())
    kind = VALID if valid else INVALID

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
