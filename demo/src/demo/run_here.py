"""The replay on a platform of its own, which is started for it and stopped after it."""

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
from demo.plan import Outcome, Plan, place, show, until_signal, wait_for_the_end
from demo.progress import step
from demo.seed import load_products
from demo.summary import Timing, summarize
from devkit.options import DatabaseKind
from devkit.platform import Platform, PlatformOptions
from devkit.workspace import Workspace

__all__ = ["run_here"]

_READY_SECONDS = 120.0


def run_here(
    plan: Plan,
    workspace: Workspace,
    *,
    database: DatabaseKind,
    replicas: Mapping[str, int],
    keep: bool,
) -> Outcome | None:
    """Start a platform, replay, check the laws, stop it. None if a signal came first.

    Its data folder stays if that is asked for, if a law is broken, and if something else fails once
    a process has been started: its logs may say why.
    """
    folder = Path(mkdtemp(prefix="slipway-demo-"))
    platform = Platform(
        PlatformOptions(
            data=folder,
            replicas=dict(replicas),
            free_ports=True,
            database="postgres" if database is DatabaseKind.POSTGRES else "sqlite",
            restart_servers=True,
            on_event=lambda name, what: plan.output.print(f"{name}: {what}", markup=False),
            workspace=workspace,
        )
    )
    kept: bool | None = None
    try:
        outcome = asyncio.run(_until_signal(platform, plan))
        kept = keep or not (outcome is None or all(law.holds for law in outcome[1]))
        return outcome
    finally:
        if kept is None:
            kept = bool(platform.processes)
        if kept:
            plan.output.print(f"data and logs are kept in {folder}", markup=False)
        else:
            _remove(platform, folder)


async def _until_signal(platform: Platform, plan: Plan) -> Outcome | None:
    """Run it, and stop everything whatever happens."""
    try:
        return await until_signal(_run(platform, plan), platform, plan.output)
    finally:
        await platform.stop()


async def _run(platform: Platform, plan: Plan) -> Outcome:
    output, selection = plan.output, plan.selection
    began = time.perf_counter()
    await platform.start()
    count = len(platform.processes)
    output.print(f"starting {count} processes of {len(_services(platform))} services")
    await _wait_ready(platform, output)
    ready = time.perf_counter() - began
    output.print(f"ready after {ready:.1f} s")
    await load_products(platform.of("inventory")[0].grpc_address, selection.catalog)
    began = time.perf_counter()
    record = await place(plan, [gateway.http_url for gateway in platform.of("gateway")])
    await wait_for_the_end(platform, record, output)
    ending = time.perf_counter() - began
    ledgers = await read_ledgers(platform)
    summary = summarize(
        record,
        ledgers,
        timing=Timing(ready=ready, placing=record.seconds, ending=ending),
        events=await read_event_counts(platform),
        memory=read_memory(platform),
        restarts={p.name: p.restarts for p in platform.processes if p.restarts},
    )
    outcome = summary, check(record, ledgers, selection.catalog)
    show(outcome, output)
    return outcome


async def _wait_ready(platform: Platform, output: Console) -> None:
    waits_for = [process.name for process in platform.processes]
    count = len(waits_for)
    with step(output, "ready", count) as ready:

        def show(name: str) -> None:
            waits_for.remove(name)
            ready(count - len(waits_for), f"waits for {', '.join(waits_for)}" if waits_for else "")

        await platform.wait_ready(_READY_SECONDS, show)


def _services(platform: Platform) -> set[str]:
    return {process.service for process in platform.processes}


def _remove(platform: Platform, folder: Path) -> None:
    if platform.postgres is not None:  # some of its files may be elsewhere
        platform.postgres.erase()
    shutil.rmtree(folder, ignore_errors=True)
