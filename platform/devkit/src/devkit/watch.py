"""Which services must be restarted when files change."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from watchfiles import PythonFilter, awatch, watch

from devkit.services import ServiceDefinition
from devkit.workspace import Workspace

__all__ = ["affected", "changed_services", "why_polling"]

_POLL_MILLISECONDS = 1000
# The library's own error for a limit of the system is a RuntimeError.
_REFUSED = (OSError, RuntimeError)


async def changed_services(
    workspace: Workspace,
    services: Sequence[ServiceDefinition],
    on_polling: Callable[[str], None],
) -> AsyncIterator[tuple[list[str], list[Path]]]:
    """The services to restart and the files that changed, after each burst of changes.

    Where the system does not tell of changes `on_polling` is called with the reason, and the files
    are looked at once a second.
    """
    shared = _shared(workspace)
    folders = [*shared, *(service.source_root for service in services)]
    async for changes in _changes(folders, on_polling):
        files = [Path(path) for _, path in changes]
        names = affected(files, shared, services)
        if names:
            yield names, files


def why_polling(folders: Sequence[Path]) -> str | None:
    """Why the system would not tell of changes below these folders; None if it would."""
    try:
        next(watch(*folders, rust_timeout=1, yield_on_timeout=True))
    except _REFUSED as error:
        return _short(error)
    return None


async def _changes(
    folders: Sequence[Path], on_polling: Callable[[str], None]
) -> AsyncIterator[Iterable[tuple[object, str]]]:
    # A save is one burst of a few milliseconds; a checkout of another branch is one of many.
    only = PythonFilter()
    try:
        async for changes in awatch(*folders, watch_filter=only, step=30, debounce=400):
            yield changes
    except _REFUSED as error:
        on_polling(_short(error))
    else:
        return
    async for changes in awatch(
        *folders, watch_filter=only, force_polling=True, poll_delay_ms=_POLL_MILLISECONDS
    ):
        yield changes


def _short(error: Exception) -> str:
    """What it says before it lists what it was about."""
    return str(error).split(" about [")[0]


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
