"""Every contender of the benchmark does the work that its comparison asks for."""

from pathlib import Path

import pytest

from bench.comparison import Comparison
from bench.comparisons import all_comparisons
from bench.stage import Peers, Stage

pytestmark = pytest.mark.timeout(600)


def parameter(comparison: Comparison) -> object:
    """Return the comparison as a parameter; PostgreSQL's are twins, whole platforms are slow."""
    marks = [pytest.mark.twin] if comparison.name.endswith("postgres") else []
    if comparison.name in ("start", "rest"):
        marks = [pytest.mark.soak]
    return pytest.param(comparison, marks=marks, id=comparison.name)


@pytest.mark.parametrize("comparison", [parameter(c) for c in all_comparisons()])
def test_every_contender_does_its_work_and_passes_the_check(
    comparison: Comparison, tmp_path: Path
) -> None:
    with Stage(tmp_path, tiny=True) as stage:
        comparison.prepare(stage)
        samples = [
            contender.run(stage)
            for contender in comparison.contenders
            if Peers.installed() or not contender.by_peers
        ]
    assert samples
    assert all(sample.units > 0 for sample in samples)
