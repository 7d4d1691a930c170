"""The tables of inventory, and the statements on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from inventory.domain import Product, ReservationStatus

__all__ = [
    "StockRow",
    "add_reservation",
    "find_products",
    "give_back",
    "ledger",
    "list_products",
    "load_products",
    "lock_stock",
    "metadata",
    "on_hand",
    "reject",
    "release",
    "sell",
    "statuses",
    "take",
]

_STOCK = "inventory.stock"

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("sku", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("department", String(100), nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    # What can still be reserved. What is reserved or sold is counted from the reservations.
    Column("on_hand", BigInteger, nullable=False),
    CheckConstraint("on_hand >= 0", name="products_on_hand"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", String(64), primary_key=True),
    Column("status", String(16), nullable=False),
)

reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("order_id", ForeignKey("reservations.order_id"), primary_key=True),
    Column("sku", ForeignKey("products.sku"), primary_key=True),
    Column("quantity", Integer, nullable=False),
    Index("reservation_lines_of_product", "sku"),
)


@dataclass(frozen=True, slots=True)
class StockRow:
    """Where the pieces of a product are."""

    sku: str
    on_hand: int
    reserved: int
    sold: int


def add_reservation(session: Session, order_id: str, status: ReservationStatus) -> bool:
    """Insert the order's reservation and hold it; False if it has one.

    Waits for a transaction that is inserting the same one.
    """
    # PostgreSQL's ON CONFLICT DO NOTHING; SQLite understands the same text.
    added = (
        postgresql.insert(reservations)
        .values(order_id=order_id, status=status)
        .on_conflict_do_nothing()
        .returning(reservations.c.order_id)
    )
    return session.execute(added).first() is not None


def lock_stock(session: Session) -> None:
    """Wait for whoever changes stock; from here to its end this transaction is the only one.

    A transaction takes many orders one after the other: with locks on single products two of them
    would hold popular ones crosswise and deadlock. SQLite has one writer anyway.
    """
    if session.get_bind().dialect.name == "postgresql" and not session.info.get(_STOCK):
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(_STOCK), 0)))
        session.info[_STOCK] = True


def on_hand(session: Session, skus: Sequence[str]) -> dict[str, int]:
    """What can still be reserved of those of these products that there are."""
    found = select(products.c.sku, products.c.on_hand).where(products.c.sku.in_(skus))
    return dict(session.execute(found).all())


def take(session: Session, order_id: str, quantities: Mapping[str, int]) -> None:
    """Set these quantities aside for the order; the stock is locked and there is enough."""
    session.execute(
        insert(reservation_lines),
        [
            {"order_id": order_id, "sku": sku, "quantity": quantity}
            for sku, quantity in quantities.items()
        ],
    )
    less = (
        update(products)
        .where(products.c.sku == bindparam("of"))
        .values(on_hand=products.c.on_hand - bindparam("quantity"))
    )
    session.execute(
        less, [{"of": sku, "quantity": quantity} for sku, quantity in quantities.items()]
    )


def reject(session: Session, order_id: str) -> None:
    """Turn the reservation just added into a refusal."""
    session.execute(
        update(reservations)
        .where(reservations.c.order_id == order_id)
        .values(status=ReservationStatus.REJECTED)
    )


def sell(session: Session, order_ids: Sequence[str]) -> set[str]:
    """Turn open reservations into sales; the orders that had one."""
    return _close(session, order_ids, ReservationStatus.SOLD)


def release(session: Session, order_id: str) -> bool:
    """Close the order's open reservation; whether it had one. `give_back` must follow."""
    return bool(_close(session, [order_id], ReservationStatus.RELEASED))


def _close(session: Session, order_ids: Sequence[str], status: ReservationStatus) -> set[str]:
    closed = (
        update(reservations)
        .where(
            reservations.c.order_id.in_(order_ids),
            reservations.c.status == ReservationStatus.RESERVED,
        )
        .values(status=status)
        .returning(reservations.c.order_id)
    )
    return set(session.execute(closed).scalars())


def give_back(session: Session, order_id: str) -> None:
    """Put what was set aside for the order on hand again; the stock is locked."""
    lines = select(reservation_lines.c.sku, reservation_lines.c.quantity).where(
        reservation_lines.c.order_id == order_id
    )
    more = (
        update(products)
        .where(products.c.sku == bindparam("of"))
        .values(on_hand=products.c.on_hand + bindparam("quantity"))
    )
    session.execute(
        more, [{"of": sku, "quantity": quantity} for sku, quantity in session.execute(lines)]
    )


def statuses(session: Session, order_ids: Sequence[str]) -> dict[str, ReservationStatus]:
    found = select(reservations).where(reservations.c.order_id.in_(order_ids))
    return {row.order_id: ReservationStatus(row.status) for row in session.execute(found)}


def load_products(session: Session, loaded: Sequence[Product]) -> int:
    """Insert products, and describe those anew that are there already; how many were new."""
    rows = [
        {
            "sku": product.sku,
            "name": product.name,
            "department": product.department,
            "price": product.price,
            "currency": product.currency,
            "on_hand": product.stock,
        }
        for product in sorted(loaded, key=lambda product: product.sku)
    ]
    added = postgresql.insert(products).on_conflict_do_nothing().returning(products.c.sku)
    new = set(session.execute(added, rows).scalars()) if rows else set()
    described = (
        update(products)
        .where(products.c.sku == bindparam("of"))
        .values({name: bindparam(f"new_{name}") for name in _DESCRIPTION})
    )
    known = [
        {"of": row["sku"]} | {f"new_{name}": row[name] for name in _DESCRIPTION}
        for row in rows
        if row["sku"] not in new
    ]
    if known:
        session.execute(described, known)
    return len(new)


_DESCRIPTION = ("name", "department", "price", "currency")


def find_products(session: Session, skus: Sequence[str]) -> list[Product]:
    """Those of these products that there are."""
    found = select(products).where(products.c.sku.in_(skus)).order_by(products.c.sku)
    return [_product(row) for row in session.execute(found)]


def list_products(session: Session, after: str, limit: int) -> list[Product]:
    """Products by sku, from the first one after that."""
    found = select(products).where(products.c.sku > after).order_by(products.c.sku).limit(limit)
    return [_product(row) for row in session.execute(found)]


def ledger(session: Session, after: str, limit: int) -> list[StockRow]:
    """Where every product's pieces are, summed from the reservations."""
    line, reservation = reservation_lines.c, reservations.c

    def pieces(status: ReservationStatus) -> Any:
        return func.coalesce(func.sum(case((reservation.status == status, line.quantity))), 0)

    found = (
        select(
            products.c.sku,
            products.c.on_hand,
            pieces(ReservationStatus.RESERVED),
            pieces(ReservationStatus.SOLD),
        )
        .select_from(
            products.outerjoin(reservation_lines, line.sku == products.c.sku).outerjoin(
                reservations, reservation.order_id == line.order_id
            )
        )
        .where(products.c.sku > after)
        .group_by(products.c.sku)
        .order_by(products.c.sku)
        .limit(limit)
    )
    return [StockRow(*row) for row in session.execute(found)]


def _product(row: Row[Any]) -> Product:
    return Product(row.sku, row.name, row.department, row.price, row.currency, row.on_hand)
