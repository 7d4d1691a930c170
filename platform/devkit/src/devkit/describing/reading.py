"""The description of the platform, read from the composition roots of its services."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from devkit.describing.composition_roots import composition_roots
from devkit.describing.description import (
    Call,
    Caller,
    Foreign,
    GrpcMethod,
    GrpcService,
    GrpcSurface,
    HttpSurface,
    PlatformDescription,
    Probes,
    ServiceDescription,
    Subscription,
)
from devkit.describing.http_paths import http_paths
from devkit.describing.settings import settings_of
from devkit.errors import DevkitError
from devkit.services import default_setting
from devkit.workspace import Member, Workspace

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from chassis import Service

__all__ = ["describe_platform"]


def describe_platform(workspace: Workspace) -> PlatformDescription:
    """Import all services and return what they declare; nothing is opened or started.

    Raises:
        DevkitError: a service can't be imported, its source uses what it does not declare, or it
            calls a service that does not exist.
    """
    from chassis.events.wire.lanes import LANES

    found = sorted(composition_roots(workspace), key=lambda each: each[1].name)
    _refuse_undeclared_use(service for _, service in found)
    ports = {
        service.name: default_setting(service.settings_type, "grpc_port") for _, service in found
    }
    services = [_describe(member, service, ports) for member, service in found]
    return PlatformDescription(
        root=workspace.root,
        services=tuple(replace(each, callers=_callers(each, services)) for each in services),
        lanes=LANES,
    )


def _refuse_undeclared_use(services: "Iterable[Service]") -> None:
    """Raise DevkitError if a service uses undeclared things, which its description would miss."""
    from chassis.source_use import undeclared_use

    if lines := [line for service in services for line in undeclared_use(service)]:
        raise DevkitError("\n  ".join(["A service uses what it does not declare:", *lines]))


def _describe(member: Member, service: "Service", ports: Mapping[str, int]) -> ServiceDescription:
    """Return the description of a service; its callers are added later."""
    ((_, entry_point),) = member.service_entry_points.items()
    return ServiceDescription(
        name=service.name,
        distribution=member.name,
        version=member.version,
        package=entry_point.partition(":")[0].partition(".")[0],
        folder=member.relative,
        http=HttpSurface(default_setting(service.settings_type, "http_port"), http_paths(service)),
        grpc=_grpc(service),
        calls=tuple(_call(service, contract, ports) for contract in service.calls),
        callers=(),
        publishes=tuple(message.DESCRIPTOR.full_name for message in service.publishes),
        subscribes=tuple(sorted(_subscriptions(service), key=lambda each: (each.type, each.kind))),
        settings=tuple(settings_of(service)),
        database=service.has_database,
        # A service without tables has those of the chassis, which have migrations too.
        migrations=service.has_database,
        probes=Probes(),
    )


def _grpc(service: "Service") -> GrpcSurface | None:
    """Return the gRPC contracts that a service serves; None if there are none."""
    from slipway.v1 import LedgerService

    contracts = [contract for contract, _ in service.grpc]
    if service.has_database:  # The chassis serves its ledger.
        contracts.append(LedgerService)
    if not contracts:
        return None
    served = (GrpcService(each.full_name, tuple(_methods(each))) for each in contracts)
    return GrpcSurface(default_setting(service.settings_type, "grpc_port"), tuple(served))


def _methods(contract: "ServiceDescriptor") -> Iterator[GrpcMethod]:
    from chassis.rpc.methods import only_reads

    for method in contract.methods:
        path = f"/{contract.full_name}/{method.name}"
        yield GrpcMethod(method.name, path, reads_only=only_reads(method))


def _call(service: "Service", contract: "ServiceDescriptor", ports: Mapping[str, int]) -> Call:
    """Return a service's call of a contract, with the port of the called service."""
    from chassis.rpc.client import target_name

    callee = target_name(contract)
    port = ports.get(callee) or _port_of(
        default_setting(service.settings_type, "targets").get(callee, "")
    )
    if port is None:
        raise DevkitError(
            f"{service.name} calls {contract.full_name}, but there is no service {callee}: give"
            f" its address in the default of `targets` in the settings of {service.name}"
        )
    return Call(callee, contract.full_name, port)


def _port_of(target: str) -> int | None:
    port = target.rpartition(":")[2]
    return int(port) if port.isdecimal() else None


def _callers(callee: ServiceDescription, services: list[ServiceDescription]) -> tuple[Caller, ...]:
    return tuple(
        Caller(service.name, call.full_name)
        for service in services
        for call in service.calls
        if call.service == callee.name
    )


def _subscriptions(service: "Service") -> Iterator[Subscription]:
    """Yield the event types that a service handles, with their producers."""
    from chassis.events.wire.contracts import source_service

    for router in service.events:
        for each in router.subscriptions:
            outside = each.foreign
            foreign = Foreign(outside.stream, outside.subject) if outside else None
            yield Subscription(
                type=each.type,
                producer=None if foreign else source_service(each.type),
                kind=each.kind,
                start=each.start,
                message=each.message.DESCRIPTOR.full_name,
                foreign=foreign,
            )
