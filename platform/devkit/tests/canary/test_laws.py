"""A service's laws are read from its values, and break in both directions."""

import pytest
from canary_sides import Sides

from devkit.canary.analysis import Outcome, judge
from devkit.canary.analysis.laws import read_laws
from devkit.canary.analysis.selectors import read_selector
from devkit.errors import WrongUsage

pytestmark = pytest.mark.unit

AMOUNTS = {"name": "authorized amounts", "histogram": "payment_amount"}
CLIENT_ERRORS = {
    "name": "refused requests",
    "share": 'http_requests_total{status=~"4.."}',
    "of": "http_requests_total",
    "by": ["handler"],
    "unit": "requests",
    "matters": 10,
}


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [(1, Outcome.PASS), (2, Outcome.FAIL), (0.5, Outcome.FAIL)],
)
def test_a_canary_that_publishes_other_amounts_is_aborted(factor: float, outcome: Outcome) -> None:
    sides = Sides(gates=read_laws([AMOUNTS]))
    sides.read()
    for number in range(2000):
        amount = 1 + number % 40
        sides.stable.amounts.observe(amount)
        if number % 4 == 0:
            sides.canary.amounts.observe(factor * (1 + (number // 4) % 40))
    verdict = judge(sides.read(), sides.gates, look=1)
    assert verdict.outcome is outcome
    assert ("authorized amounts:" in verdict.reason) == (outcome is Outcome.FAIL)


@pytest.mark.parametrize(
    ("refused", "outcome"), [(30, Outcome.PASS), (350, Outcome.FAIL), (0, Outcome.FAIL)]
)
def test_a_law_of_a_share_compares_what_it_selects(refused: int, outcome: Outcome) -> None:
    sides = Sides(gates=read_laws([CLIENT_ERRORS]))
    sides.read()
    for process, of, bad in ((sides.stable, 9000, 540), (sides.canary, 1000, refused)):
        process.requests.labels("/orders", "POST", "404").inc(bad)
        process.requests.labels("/orders", "POST", "202").inc(of - bad)
    assert judge(sides.read(), sides.gates, look=1).outcome is outcome


@pytest.mark.parametrize(
    ("law", "complaint"),
    [
        ({"histogram": "a"}, "needs a name"),
        ({"name": "x"}, "a histogram or a share"),
        ({"name": "x", "share": "a"}, "a share with `of`"),
        ({"name": "x", "histogram": "a", "share": "b", "of": "c"}, "a histogram or a share"),
        ({"name": "x", "histogram": "a", "tolerance": 3}, "unknown keys: tolerance"),
        ({"name": "x", "histogram": "a", "matters": 0}, "between 0 and 100"),
        ({"name": "x", "histogram": "sum(rate(a[5m]))"}, "is not a selector"),
        ({"name": "x", "histogram": "a{b}"}, "a condition that cannot be read"),
        ({"name": "lag per lane", "histogram": "a"}, "the name of another figure"),
    ],
)
def test_a_law_that_cannot_be_read_is_refused(law: dict[str, object], complaint: str) -> None:
    with pytest.raises(WrongUsage, match=complaint):
        read_laws([law])


def test_a_selector_is_written_as_it_was_read() -> None:
    text = 'events_given_up_total{to!="dead_letters",type=~"shop.*"}'
    assert read_selector(text).promql() == text
    assert read_selector(f" {text} ").promql('pod="a"').endswith('"shop.*",pod="a"}')
