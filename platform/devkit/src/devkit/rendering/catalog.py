"""docs/catalog.md: the services, their events and calls."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, markdown_text

__all__ = ["artifacts"]


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the page; nothing for a platform without services."""
    if platform.services:
        parts = (_services(platform), _map(platform), _events(platform), _calls(platform))
        text = "\n\n".join(["# Catalogue", *(part for part in parts if part)])
        yield Artifact(Path("docs/catalog.md"), markdown_text("docs/architecture.md", text + "\n"))


def _services(platform: PlatformDescription) -> str:
    """Return the section with the table of services."""
    rows = [
        (
            f"[{service.name}](../{service.folder})",
            f"{service.http.port}{' (public)' if service.http.paths else ''}",
            str(service.grpc.port) if service.grpc else "",
            "yes" if service.database else "",
            _events_link(service),
        )
        for service in platform.services
    ]
    table = _table(("service", "HTTP port", "gRPC port", "database", "events"), rows)
    return f"## Services\n\n{table}"


def _events_link(service: ServiceDescription) -> str:
    if not (service.publishes or service.subscribes):
        return ""
    consumed = {each.type for each in service.subscribes}
    text = f"{len(service.publishes)} published, {len(consumed)} consumed"
    return f"[{text}](../{service.folder}/deploy/asyncapi.yaml)"


def _map(platform: PlatformDescription) -> str:
    """Return the section with the diagram of events and calls; empty if there are none."""
    lines = [
        f"  {service.name} -- {_short_names(types)} --> {consumer}"
        for service in platform.services
        for consumer, types in _types_by_consumer(platform, service).items()
    ]
    lines += [
        f"  {service.name} -. gRPC .-> {callee}"
        for service in platform.services
        for callee in sorted({call.service for call in service.calls})
    ]
    if not lines:
        return ""
    return "\n".join(
        [
            "## Communication\n\nA line stands for events, a dotted line for gRPC.\n\n```mermaid",
            "flowchart LR",
            *(f"  {service.name}" for service in platform.services),
            *lines,
            "```",
        ]
    )


def _types_by_consumer(
    platform: PlatformDescription, producer: ServiceDescription
) -> dict[str, list[str]]:
    """Return the types of a producer's events by the service that consumes them."""
    found = defaultdict(set)
    for service in platform.services:
        for subscription in service.subscribes:
            if subscription.producer == producer.name:
                found[service.name].add(subscription.type)
    return {name: sorted(types) for name, types in found.items()}


def _events(platform: PlatformDescription) -> str:
    """Return the section with the publishers and consumers of each event type."""
    publishers: defaultdict[str, set[str]] = defaultdict(set)
    consumers: defaultdict[str, set[str]] = defaultdict(set)
    for service in platform.services:
        for type in service.publishes:
            publishers[type].add(service.name)
        for each in service.subscribes:
            source = each.foreign
            if source:
                publishers[each.type].add(f"outside: {source.subject} of stream {source.stream}")
            everywhere = " (every replica)" if each.kind == "broadcast" else ""
            consumers[each.type].add(service.name + everywhere)
    rows = [
        (
            f"`{type}`",
            _list(publishers[type]) or "no service here",
            _list(consumers[type]) or "no service",
        )
        for type in sorted({*publishers, *consumers})
    ]
    if not rows:
        return ""
    return f"## Events\n\n{_table(('type', 'published by', 'consumed by'), rows)}"


def _calls(platform: PlatformDescription) -> str:
    """Return the section with the callers of each gRPC contract."""
    rows = [
        (f"`{served.full_name}`", service.name, _list(_callers(service, served.full_name)))
        for service in platform.services
        if service.grpc
        for served in service.grpc.services
        if _callers(service, served.full_name) or not served.full_name.startswith("slipway.")
    ]
    if not rows:
        return ""
    table = _table(("contract", "served by", "called by"), rows)
    return f"## gRPC\n\n{table}"


def _callers(service: ServiceDescription, full_name: str) -> list[str]:
    return [caller.service for caller in service.callers if caller.full_name == full_name]


def _short_names(types: Iterable[str]) -> str:
    return ", ".join(type.rpartition(".")[2] for type in types)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
