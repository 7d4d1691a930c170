"""The settings of the gateway."""

from pydantic import Field

from chassis import ServiceSettings

__all__ = ["GatewaySettings"]


class GatewaySettings(ServiceSettings):
    """The settings of the gateway, in addition to those of every service."""

    http_port: int = Field(8080, ge=0, le=65535, description="port of the HTTP server")
    targets: dict[str, str] = Field(
        {"orders": "ipv4:127.0.0.1:9081", "inventory": "ipv4:127.0.0.1:9082"},
        description="gRPC targets of the services that this one calls, by service name",
    )
    order_events_poll_seconds: float = Field(
        1, gt=0, description="longest time between two reads of an order for an open event stream"
    )
