"""An order costs no more statements, commits and bytes than the table says, and no fewer."""

from pathlib import Path

from bench.counted.limits import BATCH, LIMITS
from bench.counted.saga import Cost, count_saga
from bench.orders import write_orders
from bench.worker import Work

# Payments declines what costs more.
_PAYABLE_CENTS = 10_000


def costs_of(count: int, folder: Path) -> list[Cost]:
    """Return the costs of this number of orders that are paid."""
    file = folder / "orders.jsonl"
    write_orders(file, 4 * BATCH)
    orders = Work(orders=str(file)).read_orders()
    payable = [order for order in orders if int(order["total"]["amount"]) < _PAYABLE_CENTS]
    return count_saga(payable[:count])


def test_an_order_by_itself_costs_one_commit_and_these_statements_in_each_service(
    tmp_path: Path,
) -> None:
    found = [(c.service, c.step, c.statements, c.commits) for c in costs_of(1, tmp_path)]
    assert found == [(limit.service, limit.step, limit.statements, 1) for limit in LIMITS]


def test_a_batch_of_orders_shares_commits_and_the_statements_of_the_chassis(
    tmp_path: Path,
) -> None:
    costs = costs_of(BATCH, tmp_path)
    found = [(c.service, c.step, c.statements, c.commits) for c in costs]
    assert found == [
        (limit.service, limit.step, limit.statements_of_batch, limit.commits_of_batch)
        for limit in LIMITS
    ]
    for cost, limit in zip(costs, LIMITS, strict=True):
        assert cost.events == (BATCH if limit.bytes else 0)
        assert cost.bytes <= limit.bytes * BATCH, (cost, limit)
