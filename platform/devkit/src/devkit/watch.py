"""Changed files, and the services that must be restarted because of them."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from watchfiles import PythonFilter, awatch, watch

from devkit.services import ServiceDefinition
from devkit.workspace import Workspace

__all__ = ["affected", "changed_services", "why_polling"]

_POLL_MILLISECONDS = 1000
# A burst of changes has ended after this time without one. The library wakes up as often.
_STEP_MILLISECONDS = 100
# watchfiles raises a RuntimeError if a limit of the system is reached.
_REFUSED = (OSError, RuntimeError)


async def changed_services(
    workspace: Workspace,
    services: Sequence[ServiceDefinition],
    on_polling: Callable[[str], None],
) -> AsyncIterator[tuple[list[str], list[Path]]]:
    """Yield the services to restart and the changed files, after each burst of changes.

    If the system does not report changes, `on_polling` is called with the reason, and the files
    are polled once a second.
    """
    shared = _shared_folders(workspace)
    folders = [*shared, *(service.source_root for service in services)]
    async for changes in _changes(folders, on_polling):
        files = [Path(path) for _, path in changes]
        names = affected(files, shared, services)
        if names:
            yield names, files


def why_polling(folders: Sequence[Path]) -> str | None:
    """Return why the system does not report changes in these folders; None if it does."""
    try:
        next(watch(*folders, rust_timeout=1, yield_on_timeout=True))
    except _REFUSED as error:
        return _without_paths(error)
    return None


async def _changes(
    folders: Sequence[Path], on_polling: Callable[[str], None]
) -> AsyncIterator[Iterable[tuple[object, str]]]:
    """Yield changed Python files; poll if the system refuses to report changes."""
    # Saving a file makes a burst of changes of a few milliseconds; a checkout makes a long one.
    only = PythonFilter()
    try:
        async for changes in awatch(
            *folders, watch_filter=only, step=_STEP_MILLISECONDS, debounce=400
        ):
            yield changes
    except _REFUSED as error:
        on_polling(_without_paths(error))
    else:
        return
    async for changes in awatch(
        *folders, watch_filter=only, force_polling=True, poll_delay_ms=_POLL_MILLISECONDS
    ):
        yield changes


def _without_paths(error: Exception) -> str:
    """Return the message without the list of paths at its end."""
    return str(error).split(" about [")[0]


def affected(
    files: Iterable[Path], shared: Sequence[Path], services: Sequence[ServiceDefinition]
) -> list[str]:
    """Return the services whose code changed; all services for a file in a `shared` folder."""
    names: dict[str, None] = {}
    for file in files:
        if any(file.is_relative_to(folder) for folder in shared):
            return [service.name for service in services]
        names |= dict.fromkeys(
            service.name for service in services if file.is_relative_to(service.source_root)
        )
    return list(names)


def _shared_folders(workspace: Workspace) -> list[Path]:
    members = [workspace.chassis, *([workspace.contracts] if workspace.contracts else [])]
    return [member.source_root for member in members]
