"""A bar on a terminal that leaves nothing behind; elsewhere a line now and then."""

from io import StringIO

from rich.console import Console
from rich.text import Text

from demo.progress import step


def test_on_a_terminal_there_is_a_bar_that_is_taken_away() -> None:
    file = StringIO()
    output = Console(file=file, force_terminal=True, color_system="standard", width=120)

    with step(output, "placed", 10) as show:
        show(7, "orders: 3 tasks")
    shown = file.getvalue()

    assert "placed" in shown
    assert "━" in shown
    assert "\x1b[" in shown
    assert shown.endswith("\x1b[2K"), "the line is erased"


def test_elsewhere_a_few_lines_tell_how_far_it_is() -> None:
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


def test_what_is_waited_for_is_cut_and_not_the_rest_of_the_line() -> None:
    file = StringIO()
    output = Console(file=file, force_terminal=True, color_system="standard", width=80)

    with step(output, "ended", 1000) as show:
        show(970, "; ".join(["orders: 30 unsent events, 30 events not taken yet"] * 4))
    last = Text.from_ansi(file.getvalue().split("\r")[-2]).plain

    assert "ended" in last
    assert "━" * 10 in last
    assert " 970/1000 " in last
    assert "0:00:0" in last
    assert "…" in last
