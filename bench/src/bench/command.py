"""`slipway bench`: measures the platform next to other libraries and code by hand."""

import signal
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from bench.comparisons import all_comparisons, choose
from bench.document import DOCUMENT, RECORD, render
from bench.headline import README, render_headline
from bench.results import Results
from bench.running import run_comparisons
from bench.scaling import SCALING, render_scaling
from bench.stage import Peers
from bench.summary import print_summary
from devkit.console import console
from devkit.errors import WrongUsage
from devkit.workspace import Workspace, find_workspace

__all__ = ["app"]

_INTERRUPTED = 130
_ROUNDS = 5
_SECONDS = 60.0
_DOCUMENTS = f"{DOCUMENT}, {SCALING} and {README}"
_EXPLANATION = (
    "Costs are CPU time for each event, call or order. A ratio is the cost of the other in ours,"
    f" or the reverse where the target is “at most”; {DOCUMENT} has the caveats."
)
_PEERS = ("faststream", "aiosqlite", "asyncpg", "orjson")

app = typer.Typer()


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Run the comparisons whose name contains one of these. Default: all"),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help=f"Number of rounds. Default: {_ROUNDS}, or 1 with --tiny"),
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Do little work, to see that every contender runs")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the figures here. Default: .slipway/bench.json"),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help=f"Write the figures into {_DOCUMENTS}, too")
    ] = False,
    only_render: Annotated[
        bool, typer.Option("--render", help="Write the documents from the recorded figures")
    ] = False,
) -> None:
    """Compare the platform with other libraries, in CPU time for each unit of work.

    All contenders of a comparison run in turn in each round. The result of each is checked.
    """
    if record and tiny:
        raise WrongUsage("--tiny measures nothing that is worth a record: leave out --record")
    rounds = rounds or (1 if tiny else _ROUNDS)
    if record and rounds < _ROUNDS:
        raise WrongUsage(
            f"--record replaces figures of {_ROUNDS} rounds or more: leave out --rounds {rounds},"
            " or --record; without it the figures are shown and not recorded"
        )
    workspace = find_workspace()
    output = console()
    if only_render:
        _write_documents(workspace)
        return
    chosen = choose(names or [])
    file = json_file or workspace.state / "bench.json"
    kept = workspace.root / RECORD
    results = Results.read(kept) if record else Results()
    results.describe(_versions_of_peers())
    # A signal that ends the command ends the servers, too. A shell lets what it starts in the
    # background of a script ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run_comparisons(chosen, rounds, results, output, tiny=tiny)
    except KeyboardInterrupt:
        output.print("stopped; no figures were written", markup=False)
        raise typer.Exit(_INTERRUPTED) from None
    if tiny:
        output.print("every contender did its work; so little of it measures nothing", markup=False)
        return
    print_summary(chosen, results, output)
    results.write(file)
    output.print(f"\n{_EXPLANATION}\nfigures of each round: {file}", markup=False)
    if record:
        results.write(kept)
        _write_documents(workspace)
        output.print(f"recorded in {RECORD}, {_DOCUMENTS}", markup=False)


def _write_documents(workspace: Workspace) -> None:
    """Render the documents from the recorded figures."""
    comparisons, results = all_comparisons(), Results.read(workspace.root / RECORD)
    readme = (workspace.root / README).read_text(encoding="utf-8")
    for name, text in {
        DOCUMENT: render(comparisons, results),
        SCALING: render_scaling(comparisons, results),
        README: render_headline(readme, comparisons, results),
    }.items():
        (workspace.root / name).write_text(text, encoding="utf-8")


def _versions_of_peers() -> dict[str, str]:
    """Return the versions of the libraries in the peers' environment."""
    if not Peers.installed():
        return {}
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run(
        [Peers.python, "-c", code, *_PEERS],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=_SECONDS,
    )
    return dict(zip(_PEERS, done.stdout.split(), strict=True))
