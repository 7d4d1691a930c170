"""Transactions of routes: by annotation, in one commit, and 503 without a database."""

from collections.abc import Callable

from bookshop import journal, sold
from fastapi import APIRouter
from http_app import client_for, make_app
from sqlalchemy import func, insert, select

from bookstore.v1 import BookSold
from chassis import ReadTransaction, Service, ServiceSettings, Transaction
from chassis.checks import find_problems
from chassis.database import Database
from chassis.database.tables import outbox
from chassis.events.producer.event_factory import EventFactory
from chassis.http import RouteRead, RouteTransact
from localservers import PostgresServer

router = APIRouter()


def sell(tx: Transaction, number: int, *, fails: bool) -> None:
    tx.session.execute(insert(journal).values(id=number))
    tx.publish(sold(number))
    if fails:
        raise ZeroDivisionError


def count(tx: ReadTransaction) -> tuple[int, int]:
    lines = tx.session.scalar(select(func.count()).select_from(journal))
    events = tx.session.scalar(select(func.count()).select_from(outbox))
    return lines or 0, events or 0


@router.post("/sales/{number}")
async def post_sale(number: int, transact: RouteTransact, fails: bool = False) -> str:
    await transact(sell, number, fails=fails)
    return "sold"


@router.get("/sales")
async def get_sales(read: RouteRead) -> tuple[int, int]:
    return await read(count)


async def test_the_changes_and_events_of_a_route_are_one_commit(
    new_database: Callable[[str], str],
) -> None:
    app = make_app(router)
    app.state.database = database = Database(
        new_database("bookstore"), EventFactory("bookstore", (BookSold,))
    )
    try:
        async with client_for(app) as client:
            assert (await client.post("/sales/1")).json() == "sold"
            assert (await client.post("/sales/2?fails=true")).status_code == 500
            assert (await client.get("/sales")).json() == [1, 1]
    finally:
        database.close()


async def test_a_route_without_its_database_answers_503_with_retry_after(
    own_postgres: PostgresServer,
) -> None:
    app = make_app(router)
    async with client_for(app) as client:
        answers = [await client.get("/sales"), await client.post("/sales/1")]
        own_postgres.stop()
        app.state.database = Database(own_postgres.url(), EventFactory("bookstore"))
        answers += [await client.get("/sales"), await client.post("/sales/1")]
        app.state.database.close()
    assert [answer.status_code for answer in answers] == [503] * 4
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


def test_a_route_that_cannot_have_a_transaction_is_refused_at_the_start() -> None:
    plain = APIRouter()

    @plain.get("/plain")
    def get_plain(read: RouteRead) -> None: ...

    service = Service("bookstore", settings=ServiceSettings, http=[plain, router])
    lines = find_problems(service, ServiceSettings())
    assert [line for line in lines if "/plain: a route that takes RouteRead" in line]
    assert len([line for line in lines if "takes a transaction; give bookstore" in line]) == 3
    service = Service("bookstore", settings=ServiceSettings, http=[router], publishes=[BookSold])
    assert find_problems(service, ServiceSettings()) == []
