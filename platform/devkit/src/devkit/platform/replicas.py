"""The processes of the services: all replicas of all services that run here."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from devkit.errors import DevkitError
from devkit.platform.plan import callers_first
from devkit.service_process import ServiceProcess
from devkit.services import ServiceDefinition
from devkit.state import ServiceState

__all__ = ["Replicas"]

# A developer who saves a file must not wait: killing a service is safe at any moment.
_RESTART_GRACE_SECONDS = 1.5


class Replicas:
    """The processes of a platform, which start, become ready and stop together."""

    def __init__(
        self,
        processes: Sequence[ServiceProcess] = (),
        definitions: Sequence[ServiceDefinition] = (),
    ) -> None:
        self.processes = list(processes)
        self._definitions = definitions

    def of(self, service: str) -> list[ServiceProcess]:
        """Return the replicas of a service; none if it was left out."""
        return [process for process in self.processes if process.service == service]

    async def start(self) -> None:
        """Start every process."""
        for process in self.processes:
            process.start()
            # A start takes long on a busy machine: let a signal stop the platform in between.
            await asyncio.sleep(0)

    async def wait_ready(
        self, timeout: float, on_ready: Callable[[str], None] | None = None
    ) -> None:
        """Wait for at most `timeout` seconds until every process is ready.

        Raises:
            DevkitError: names every process that is not.
        """

        async def wait(process: ServiceProcess) -> None:
            await process.wait_ready(timeout)
            if on_ready is not None:
                on_ready(process.name)

        results = await asyncio.gather(*map(wait, self.processes), return_exceptions=True)
        errors = [str(result) for result in results if isinstance(result, DevkitError)]
        if errors:
            raise DevkitError("\n".join(errors))
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def are_ready(self) -> bool:
        """Return whether every process is ready now."""
        return all(await asyncio.gather(*(process.is_ready() for process in self.processes)))

    async def restart(self, processes: Iterable[ServiceProcess]) -> None:
        """Stop these processes, and start them again."""

        async def restart(process: ServiceProcess) -> None:
            await process.stop(grace=_RESTART_GRACE_SECONDS)
            process.start()

        await asyncio.gather(*map(restart, processes))

    async def stop(self) -> None:
        """Stop callers before the services that they call."""
        for group in callers_first(self.processes, self._definitions):
            await asyncio.gather(*(process.stop() for process in group))

    def kill(self) -> None:
        """Send SIGKILL to every process; the runner restarts none."""
        for process in self.processes:
            process.wanted = False
            process.kill()

    def states(self) -> list[ServiceState]:
        """Return what the state file says of each process."""
        return [
            ServiceState(
                name=process.name,
                service=process.service,
                replica=process.replica,
                pid=process.pid,
                http_port=process.http_port,
                grpc_port=process.grpc_port,
                restarts=process.restarts,
                log=str(process.log),
                environment=process.environment,
                track=process.track,
            )
            for process in self.processes
        ]
