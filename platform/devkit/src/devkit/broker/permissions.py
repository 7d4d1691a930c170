"""Permissions of each service at the broker, derived from what its code declares."""

from chassis.events.release.permissions import (
    API,
    RELEASE,
    Listener,
    Permissions,
    of_release,
    of_service,
)
from devkit.describing.description import PlatformDescription, ServiceDescription

__all__ = ["permissions_of", "permissions_of_all"]


def permissions_of_all(platform: PlatformDescription, domain: str = "") -> dict[str, Permissions]:
    """Return the permissions of each service and of the release, by name.

    `domain` is the JetStream domain of the streams.
    """
    api = f"$JS.{domain}.API" if domain else API
    allowed = {service.name: permissions_of(service, api) for service in platform.services}
    owners = [service.name for service in platform.services if service.publishes]
    return {**allowed, RELEASE: of_release(owners, api=api)}


def permissions_of(service: ServiceDescription, api: str = API) -> Permissions:
    """Return the subjects that the service may publish and subscribe to."""
    listens = [
        Listener(
            each.type,
            broadcast=each.kind == "broadcast",
            foreign=each.foreign.stream if each.foreign else "",
        )
        for each in service.subscribes
    ]
    return of_service(
        service.name,
        publishes=service.publishes,
        listens=listens,
        database=service.database,
        api=api,
    )
