"""A bar on a terminal, a few lines in other outputs."""

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from demo.progress import step

pytestmark = pytest.mark.unit


def test_a_terminal_shows_a_bar_and_erases_it_at_the_end() -> None:
    file = StringIO()
    output = Console(file=file, force_terminal=True, color_system="standard", width=120)

    with step(output, "placed", 10) as show:
        show(7, "orders: 3 tasks")
    shown = file.getvalue()

    assert "placed" in shown
    assert "━" in shown
    assert "\x1b[" in shown
    assert shown.endswith("\x1b[2K"), "the line must be erased"


def test_another_output_gets_a_few_lines() -> None:
    file = StringIO()
    output = Console(file=file, force_terminal=False, color_system=None, width=120)

    with step(output, "placed", 1000) as show:
        for done in range(1, 1001):
            show(done)

    assert file.getvalue().splitlines() == [
        "placed   200 of 1,000",
        "placed   400 of 1,000",
        "placed   600 of 1,000",
        "placed   800 of 1,000",
        "placed   1,000 of 1,000",
    ]


def test_only_the_column_of_what_a_step_waits_for_is_cut() -> None:
    file = StringIO()
    output = Console(file=file, force_terminal=True, color_system="standard", width=80)

    with step(output, "ended", 1000) as show:
        show(970, "; ".join(["orders: 30 unsent events, 30 events not handled"] * 4))
    last = Text.from_ansi(file.getvalue().split("\r")[-2]).plain

    assert "ended" in last
    assert "━" * 10 in last
    assert " 970/1000 " in last
    assert "0:00:0" in last
    assert "…" in last
