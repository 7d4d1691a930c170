"""The replay on a new platform, which is started before it and stopped after it."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console

from demo.laws import check
from demo.ledgers import read_ledgers
from demo.measurements import read_event_counts
from demo.memory import read_memory
from demo.plan import (
    Outcome,
    Plan,
    place_baskets,
    print_outcome,
    run_until_signal,
    wait_for_orders_to_end,
)
from demo.progress import step
from demo.seed import load_products
from demo.summary import Timing, summarize
from demo.versions import read_version_counts
from devkit.local_canary import CanaryOptions
from devkit.options import DatabaseKind
from devkit.platform import Platform, PlatformOptions
from devkit.workspace import Workspace

__all__ = ["run_and_stop", "run_local"]

_READY_SECONDS = 120.0


def run_local(
    plan: Plan,
    workspace: Workspace,
    *,
    database: DatabaseKind,
    replicas: Mapping[str, int],
    canary: CanaryOptions | None,
    keep: bool,
) -> Outcome | None:
    """Start a platform, replay baskets, check the laws, and stop the platform.

    Return None if a signal ends the run first. The data folder with the logs is kept if `keep` is
    true, if a law is broken, or if the run fails after a process was started.
    """
    folder = Path(mkdtemp(prefix="slipway-demo-"))
    platform = Platform(
        PlatformOptions(
            data=folder,
            replicas=dict(replicas),
            free_ports=True,
            database="postgres" if database is DatabaseKind.POSTGRES else "sqlite",
            restart_servers=True,
            canary=canary,
            on_event=lambda name, text: plan.output.print(f"{name}: {text}", markup=False),
            workspace=workspace,
        )
    )
    kept: bool | None = None
    try:
        outcome = asyncio.run(run_and_stop(platform, plan))
        kept = keep or not (outcome is None or all(law.holds for law in outcome[1]))
        return outcome
    finally:
        if kept is None:
            kept = bool(platform.processes)
        if kept:
            plan.output.print(f"data and logs are kept in {folder}", markup=False)
        else:
            _remove_data(platform, folder)


async def run_and_stop(platform: Platform, plan: Plan) -> Outcome | None:
    """Run the demo, and stop the platform also after an error or a signal."""
    try:
        return await run_until_signal(_replay_and_check(platform, plan), platform, plan.output)
    finally:
        await platform.stop()


async def _replay_and_check(platform: Platform, plan: Plan) -> Outcome:
    """Start the platform, replay the baskets, and check the laws."""
    output, selection = plan.output, plan.selection
    began = time.perf_counter()
    await platform.start()
    count = len(platform.processes)
    output.print(f"starting {count} processes of {len(_service_names(platform))} services")
    await _wait_ready(platform, output)
    ready = time.perf_counter() - began
    output.print(f"ready after {ready:.1f} s")
    await load_products(platform.grpc_address("inventory"), selection.catalog)
    began = time.perf_counter()
    record = await place_baskets(plan, platform.urls("gateway"))
    await wait_for_orders_to_end(platform, record, output)
    ending = time.perf_counter() - began
    ledgers = await read_ledgers(platform)
    summary = summarize(
        record,
        ledgers,
        timing=Timing(ready=ready, placing=record.seconds, ending=ending),
        events=await read_event_counts(platform),
        memory=read_memory(platform),
        restarts={p.name: p.restarts for p in platform.processes if p.restarts},
        versions=await read_version_counts(platform.processes),
    )
    outcome = summary, check(record, ledgers, selection.catalog)
    print_outcome(outcome, output)
    return outcome


async def _wait_ready(platform: Platform, output: Console) -> None:
    """Show which services are not ready yet, until all are."""
    waiting_for = [process.name for process in platform.processes]
    count = len(waiting_for)
    with step(output, "ready", count) as ready:

        def show(name: str) -> None:
            waiting_for.remove(name)
            names = ", ".join(waiting_for)
            ready(count - len(waiting_for), f"waiting for {names}" if names else "")

        await platform.wait_ready(_READY_SECONDS, show)


def _service_names(platform: Platform) -> set[str]:
    return {process.service for process in platform.processes}


def _remove_data(platform: Platform, folder: Path) -> None:
    if platform.postgres is not None:  # Some of its files may be outside of the folder.
        platform.postgres.erase()
    shutil.rmtree(folder, ignore_errors=True)
