"""Ratios are those of values of the same round, and the document is that of the record."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from bench.comparison import Comparison, Contender, Figure, Role, Target
from bench.comparisons import all_comparisons, choose
from bench.document import DOCUMENT, RECORD, render
from bench.handlers.accounts import account_of, expected, found
from bench.headline import README, render_headline
from bench.meter import OWN
from bench.results import Measured, Ratio, Results, ratio
from bench.running import run_comparisons
from bench.scaling import SCALING, render_scaling
from bench.stage import Stage
from bench.summary import lines_of
from bench.worker import Sample
from devkit.errors import WrongUsage

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def costing(*microseconds: float) -> Contender:
    """Return a contender that costs these CPU times, one in each round."""
    costs = iter(microseconds)

    def run(_stage: Stage) -> Sample:
        cost = next(costs) / 1e6
        return Sample(10, 1.0, {OWN: 10 * cost, "nats-server": 10 * cost})

    return Contender(f"costs {microseconds}", Role.OURS, run)


def measured(*contenders: Contender, targets: tuple[Target, ...] = ()) -> Measured:
    comparison = Comparison("some", "Some work", "event", contenders, targets)
    results = Results()
    run_comparisons([comparison], 3, results, Console(quiet=True))
    return results.comparisons["some"]


def test_a_ratio_divides_values_of_the_same_round() -> None:
    ours, theirs = costing(1, 10, 100), costing(4, 20, 300)
    target = Target("", ours.name, theirs.name, 2)
    figures = measured(ours, theirs)
    assert ratio(figures, target, ours.name) == Ratio(3, 2, 4)
    assert ratio(figures, target, ours.name, Figure.RATE) == Ratio(1, 1, 1)


def test_the_cost_is_that_of_all_processes() -> None:
    figures = measured(costing(1, 2, 3))
    (contender,) = figures.contenders.values()
    assert contender["cpu"] == pytest.approx([2, 4, 6])
    assert contender["own"] == pytest.approx([1, 2, 3])


@pytest.mark.parametrize(
    ("reach", "at_most", "reached"),
    [(2, False, True), (3.1, False, False), (0.4, True, True), (0.3, True, False)],
)
def test_a_target_is_reached_by_the_median(reach: float, at_most: bool, reached: bool) -> None:
    ours, theirs = costing(1, 10, 100), costing(4, 20, 300)
    target = Target("", ours.name, theirs.name, reach, at_most=at_most)
    comparison = Comparison("some", "Some work", "event", [ours, theirs], [target])
    (line,) = lines_of(comparison, measured(ours, theirs))
    assert line.reached is reached


def test_a_target_whose_figure_was_not_measured_has_no_line() -> None:
    ours, theirs = costing(1, 10, 100), costing(4, 20, 300)
    target = Target("", ours.name, theirs.name, 3.6, figure=Figure.SHARED)
    comparison = Comparison("some", "Some work", "event", [ours, theirs], [target])
    assert lines_of(comparison, measured(ours, theirs)) == []


def test_a_handler_that_misses_an_event_or_handles_one_twice_fails_the_check() -> None:
    orders = [{"order_id": f"order-{n}", "total": {"amount": str(n)}} for n in range(3)]
    published = [(f"order-{n}", n) for n in range(3)]
    right = expected(orders)
    balances = {account_of(order_id): 1 for order_id, _ in published}
    assert found(3, balances, published) == right
    assert found(3, {**balances, account_of("order-0"): 2}, published) != right
    assert found(3, balances, [*published, published[0]]) != right
    assert found(3, balances, published[:2]) != right


def test_a_name_that_fits_no_comparison_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(WrongUsage, match="handlers-sqlite"):
        choose(["raft"])
    assert [c.name for c in choose(["relay"])] == ["relay-sqlite", "relay-postgres"]


def test_every_target_and_floor_is_a_contender_of_its_comparison() -> None:
    for comparison in all_comparisons():
        names = {contender.name for contender in comparison.contenders}
        for target in comparison.targets:
            named = {target.ours, target.against or target.ours, target.floor or target.ours}
            assert named <= names


@pytest.mark.parametrize(("document", "rendered"), [(DOCUMENT, render), (SCALING, render_scaling)])
def test_the_documents_are_rendered_from_the_record(
    document: str, rendered: Callable[[Sequence[Comparison], Results], str]
) -> None:
    results = Results.read(ROOT / RECORD)
    assert results.comparisons.keys() <= {c.name for c in all_comparisons()}
    text = (ROOT / document).read_text(encoding="utf-8")
    assert text == rendered(all_comparisons(), results), "run `make bench ARGS=--render`"


def test_the_table_of_the_readme_is_rendered_from_the_record() -> None:
    text = (ROOT / README).read_text(encoding="utf-8")
    rendered = render_headline(text, all_comparisons(), Results.read(ROOT / RECORD))
    assert text == rendered, "run `make bench ARGS=--render`"


def test_a_readme_without_the_place_of_the_table_stays_as_it_is() -> None:
    results = Results.read(ROOT / RECORD)
    assert render_headline("# A platform\n", all_comparisons(), results) == "# A platform\n"
