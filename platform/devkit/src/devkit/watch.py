"""Which services must be restarted when files change."""

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from watchfiles import PythonFilter, awatch

from devkit.services import ServiceDefinition
from devkit.workspace import Workspace

__all__ = ["affected", "changed_services"]


async def changed_services(
    workspace: Workspace, services: Sequence[ServiceDefinition]
) -> AsyncIterator[tuple[list[str], list[Path]]]:
    """The services to restart and the files that changed, after each burst of changes."""
    shared = _shared(workspace)
    folders = [*shared, *(service.source_root for service in services)]
    # A save is one burst of a few milliseconds; a checkout of another branch is one of many.
    async for changes in awatch(*folders, watch_filter=PythonFilter(), step=30, debounce=400):
        files = [Path(path) for _, path in changes]
        names = affected(files, shared, services)
        if names:
            yield names, files


def affected(
    files: Iterable[Path], shared: Sequence[Path], services: Sequence[ServiceDefinition]
) -> list[str]:
    """Only the services whose code changed; all of them for a file below a `shared` folder."""
    names: dict[str, None] = {}
    for file in files:
        if any(file.is_relative_to(folder) for folder in shared):
            return [service.name for service in services]
        names |= dict.fromkeys(
            service.name for service in services if file.is_relative_to(service.source_root)
        )
    return list(names)


def _shared(workspace: Workspace) -> list[Path]:
    members = [workspace.chassis, *([workspace.contracts] if workspace.contracts else [])]
    return [member.source_root for member in members]
