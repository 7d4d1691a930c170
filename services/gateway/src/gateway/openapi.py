"""What the OpenAPI document says beside the models: problems, headers, the event stream."""

from http import HTTPStatus
from typing import Any

__all__ = ["ACCEPTED", "EVENT_STREAM", "problems"]

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Answers with these statuses, as problem+json."""
    return {code: _described(code) for code in statuses}


_DESCRIPTIONS = {
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than 1 MiB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not called JSON by its Content-Type.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A part of the request is wrong; `errors` names it.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Something it needs is away; try again later.",
    HTTPStatus.GATEWAY_TIMEOUT: "Something it needs did not answer in time; try again later.",
}


def _described(code: int) -> dict[str, Any]:
    return {
        "description": _DESCRIPTIONS[HTTPStatus(code)],
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }


_TEXT = {"type": "string"}
_PROBLEM = {
    "title": "Problem",
    "description": "What is wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "errors": {
            "description": "The parts of the request that are at fault.",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {
                    "field": {"type": "string", "examples": ["lines.0.quantity"]},
                    "detail": _TEXT,
                },
            },
        },
    },
}

ACCEPTED: Responses = {
    202: {
        "headers": {
            "Location": {
                "description": "Where the order is shown.",
                "schema": {
                    "type": "string",
                    "examples": ["/orders/0199c3d4-7a10-7c3e-8f6b-2d1f0a9b8c7d"],
                },
            }
        }
    }
}

EVENT_STREAM: Responses = {
    200: {
        "description": "The events, each a CloudEvent in the JSON format. The stream ends with "
        "the order: OrderConfirmed or OrderCancelled is its last event. "
        "In `data`, an int64 such as an amount is a string of digits, as proto JSON has it.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": "id: 1\nevent: shop.orders.v1.OrderPlaced\n"
                'data: {"specversion":"1.0","type":"shop.orders.v1.OrderPlaced",…}\n\n',
            }
        },
    },
    204: {"description": "The order has ended, and its last event was seen before."},
}
