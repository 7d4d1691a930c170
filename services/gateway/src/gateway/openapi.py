"""Parts of the OpenAPI document besides the models: problems, headers, the event stream."""

from http import HTTPStatus
from typing import Any

__all__ = ["ACCEPTED", "EVENT_STREAM", "problems"]

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Return the descriptions of responses with these statuses, which are problem+json."""
    return {code: _problem_response(code) for code in statuses}


_DESCRIPTIONS = {
    HTTPStatus.NOT_FOUND: "The resource does not exist.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than 1 MiB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The Content-Type is not JSON.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is invalid; `errors` names the fields.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A backend service is unavailable; try again later.",
    HTTPStatus.GATEWAY_TIMEOUT: "A backend service did not answer in time; try again later.",
}


def _problem_response(code: int) -> dict[str, Any]:
    """Return the OpenAPI description of an error response."""
    return {
        "description": _DESCRIPTIONS[HTTPStatus(code)],
        "content": {"application/problem+json": {"schema": _PROBLEM}},
    }


_TEXT = {"type": "string"}
_PROBLEM = {
    "title": "Problem",
    "description": "An error (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "errors": {
            "description": "The invalid fields of the request.",
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
                "description": "URL of the order.",
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
        "description": "The events, each a CloudEvent in the JSON format. The last event is "
        "OrderConfirmed or OrderCancelled; the stream ends after it. In `data`, an int64 such as "
        "an amount is a string of digits, because `data` is protobuf's JSON.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": "id: 1\nevent: shop.orders.v1.OrderPlaced\n"
                'data: {"specversion":"1.0","type":"shop.orders.v1.OrderPlaced",…}\n\n',
            }
        },
    },
    204: {
        "description": "The order has ended, and Last-Event-ID is its last event or a later one."
    },
}
