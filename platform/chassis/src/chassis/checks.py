"""Checks of a service's definition against its contracts and settings, before anything runs."""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import ServiceDescriptor
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from chassis.calls import Call, StubOf, undeclared_call
from chassis.database import tls
from chassis.database.engine import database_file, is_sqlite
from chassis.events.handlers.binding import bind_all
from chassis.events.jetstream import nats_settings
from chassis.events.jobs import job_problems
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire.contracts import ContractError, event_type, source_service
from chassis.http.transactions import takes_transaction
from chassis.parameters import DeclarationError, full_name
from chassis.rpc import methods, security
from chassis.rpc.client import target_name
from chassis.settings import ServiceSettings
from chassis.telemetry import export

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["find_problems", "missing_settings", "wrong_database_url"]


def find_problems(service: "Service", settings: ServiceSettings) -> list[str]:
    """Return what is wrong with the definition, a line each."""
    stub_of = partial(_placeholder, service)
    return [
        *_event_problems(service, settings, stub_of),
        *methods.problems(service, settings, stub_of),
        *(line for job in service.jobs for line in job_problems(job, settings)),
        *_route_problems(service),
    ]


def missing_settings(service: "Service", settings: ServiceSettings) -> list[str]:
    """Return which settings the definition needs that are missing or wrong, a line each."""
    lines = []
    if service.has_database:
        url = settings.database_url.get_secret_value()
        if not url:
            lines.append(f"APP_DATABASE_URL: is missing; {service.name} keeps its tables there")
        else:
            lines += wrong_database_url(url)
    for contract in service.calls:
        name = target_name(contract)
        if name not in settings.targets:
            lines.append(
                f"APP_TARGETS: has no target for {name}, which {service.name} calls; "
                f'give it like {{"{name}": "dns:///{name}:9090"}}'
            )
    lines += nats_settings.find_problems(settings.nats_url, settings)
    lines += security.problems(settings)
    return [*lines, *export.problems(settings)]


def wrong_database_url(database_url: str) -> list[str]:
    """Return what is wrong with the URL of a database, a line each."""
    if not _is_database(database_url):
        return [
            "APP_DATABASE_URL: is neither sqlite:///<file> "
            "nor postgresql+psycopg://<user>:<password>@<host>/<database>"
        ]
    return [] if is_sqlite(database_url) else list(tls.problems(database_url))


def _is_database(url: str) -> bool:
    """Return whether this is a URL of SQLite or PostgreSQL."""
    try:
        if is_sqlite(url):
            database_file(url)
            return True
        return make_url(url).get_driver_name() == "psycopg"
    except (ArgumentError, NoSuchModuleError, ValueError):
        return False


def _placeholder(service: "Service", contract: ServiceDescriptor, _stub: object) -> None:
    """Stand for a stub while the service does not run.

    Raises:
        LookupError: the service does not declare that it calls this contract.
    """
    if problem := undeclared_call(contract, service.calls, service.name):
        raise LookupError(problem)


def _event_problems(
    service: "Service", settings: ServiceSettings, stub_of: StubOf
) -> Iterator[str]:
    """Yield what is wrong with the handlers and the published types, a line each."""
    try:
        bind_all(service.events, settings, stub_of)
    except DeclarationError as error:
        yield from str(error).splitlines()
    try:
        EventFactory(service.name, service.publishes)
        yield from _shadow_problems(service, settings)
        yield from _foreign_contracts(service)
    except ContractError as error:
        yield str(error)


def _shadow_problems(service: "Service", settings: ServiceSettings) -> Iterator[str]:
    """Yield what is wrong with the handlers that restore the state of a shadow, a line each."""
    if service.shadow is None:
        return
    try:
        bind_all(service.shadow.restores, settings)
    except DeclarationError as error:
        yield from str(error).splitlines()
    published = {event_type(message) for message in service.publishes}
    for subscription in (s for router in service.shadow.restores for s in router.subscriptions):
        where = full_name(subscription.function)
        if subscription.type not in published:
            yield f"{where}: a shadow restores state from events that {service.name} publishes"
        if subscription.kind not in ("one", "batch"):
            yield f"{where}: a handler that restores state is a plain def"


def _foreign_contracts(service: "Service") -> Iterator[str]:
    """Yield published events that consumers would look for in the stream of another service."""
    for type in map(event_type, service.publishes):
        owner = source_service(type)
        if owner != service.name:
            yield (
                f"{service.name} publishes {type}, which consumers read from the stream of {owner}:"
                " an event's package names the service that publishes it,"
                f" <area>.<service>.<version>; call the service {owner!r}, or let it publish"
                " events of a package that has its name"
            )


def _route_problems(service: "Service") -> Iterator[str]:
    """Yield dependencies of HTTP routes that the service cannot provide."""
    for router in service.http:
        for route in router.routes:
            where = getattr(route, "path", router)
            calls = list(_dependencies(getattr(route, "dependant", None)))
            for call in calls:
                if isinstance(call, Call):
                    problem = undeclared_call(call.contract, service.calls, service.name)
                    if problem:
                        yield f"{where}: {problem}"
            if not any(map(takes_transaction, calls)):
                continue
            if not service.has_database:
                yield f"{where}: takes a transaction; give {service.name} its tables=..."
            if not inspect.iscoroutinefunction(getattr(route, "endpoint", None)):
                yield f"{where}: a route that takes RouteRead or RouteTransact is an async def"


def _dependencies(dependant: Any) -> Iterator[Any]:
    """Yield the functions that a route depends on, directly or through others."""
    for dependency in dependant.dependencies if dependant is not None else ():
        yield dependency.call
        yield from _dependencies(dependency)
