"""A stable version and a canary of one service as processes of this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from bookstore_process import BookstoreProcess
from canary_trial import CANARY, CanaryTrial

__all__ = ["ProcessTrial"]

_LEFT_TO_OTHERS = "event used up the tries of this version; leaving it to another running version"


class ProcessTrial(CanaryTrial[BookstoreProcess]):
    """A trial whose replicas are processes.

    Attributes:
        left_to_stable: How many tasks canaries have left to the other version.
        processor_seconds: The processor time of the replicas that have ended.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str,
        nats_url: str,
        keys: int,
        seed: int,
        variables: Mapping[str, str],
        canary: Mapping[str, str],
    ) -> None:
        super().__init__(url=url, nats_url=nats_url, keys=keys, seed=seed)
        self._folder = folder
        self._weight = folder / "weight"
        self._settings = {"database_url": url, "nats_url": nats_url, **variables}
        self._of_canary = {"event_weight_file": str(self._weight), **canary}
        self._running: list[BookstoreProcess] = []
        self.left_to_stable = 0
        self.processor_seconds = 0.0

    async def __aexit__(self, *failure: Any) -> None:
        for process in list(self._running):
            await self.kill(process)
        await super().__aexit__(*failure)

    async def start(self, version: str, *, weighed: bool = True) -> BookstoreProcess:
        number = len(list(self._folder.glob("replica-*")))
        process = BookstoreProcess(
            self._folder / f"replica-{number}",
            module="versioned_service",
            version=version,
            **{**self._settings, **(self._of_canary if version == CANARY and weighed else {})},
        )
        process.start()
        self._running.append(process)
        return process

    async def kill(self, replica: BookstoreProcess) -> None:
        assert replica.process is not None
        self._examine(replica)
        replica.process.kill()
        replica.process.join()
        self._running.remove(replica)

    async def stop(self, replica: BookstoreProcess) -> None:
        self._examine(replica)
        replica.send_signal()
        assert await replica.wait_for_exit() == 0
        self._running.remove(replica)

    async def write_weight(self, percent: int) -> None:
        self._weight.write_text(f"{percent}\n", encoding="utf-8")

    def log_ends(self) -> Sequence[str]:
        return [process.log.read_text(encoding="utf-8")[-2000:] for process in self._running]

    def _examine(self, replica: BookstoreProcess) -> None:
        """Note what a replica has done, before it ends."""
        assert replica.process is not None
        times = psutil.Process(replica.process.pid).cpu_times()
        self.processor_seconds += times.user + times.system
        self.left_to_stable += replica.logged_events().count(_LEFT_TO_OTHERS)
