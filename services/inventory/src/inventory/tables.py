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
    "find_on_hand",
    "find_products",
    "find_statuses",
    "list_ledger",
    "list_products",
    "load_products",
    "lock_stock",
    "metadata",
    "reject",
    "release",
    "reserve",
    "restock",
    "sell",
]

_STOCK_LOCK = "inventory.stock"

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("sku", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("department", String(100), nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    # The pieces that can be reserved. Reserved and sold pieces are counted in the reservations.
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
    """The numbers of pieces of a product on hand, reserved and sold."""

    sku: str
    on_hand: int
    reserved: int
    sold: int


# The statements of handlers are built once, because building one costs more than running it.
# SQLite understands the text of PostgreSQL's ON CONFLICT DO NOTHING.
_ADD_RESERVATION = (
    postgresql.insert(reservations).on_conflict_do_nothing().returning(reservations.c.order_id)
)


def add_reservation(session: Session, order_id: str, status: ReservationStatus) -> bool:
    """Insert the order's reservation and lock it, or return False if the order has one.

    The statement waits for a transaction that is inserting the reservation of the same order.
    """
    new = {"order_id": order_id, "status": status}
    return session.execute(_ADD_RESERVATION, new).first() is not None


def lock_stock(session: Session) -> None:
    """Make this transaction the only one that changes stock until it ends.

    The lock covers all products, because a transaction reserves many orders one after the other:
    with a lock per product, two transactions that lock popular products in opposite order would
    deadlock. SQLite needs no lock, because it has one writer.
    """
    if session.get_bind().dialect.name == "postgresql" and not session.info.get(_STOCK_LOCK):
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(_STOCK_LOCK), 0)))
        session.info[_STOCK_LOCK] = True


_IS_ONE_OF_THESE = products.c.sku.in_(bindparam("skus", expanding=True))
_ON_HAND = select(products.c.sku, products.c.on_hand).where(_IS_ONE_OF_THESE)


def find_on_hand(session: Session, skus: Sequence[str]) -> dict[str, int]:
    """Return the pieces on hand of those of the products that exist, by sku."""
    return dict(session.execute(_ON_HAND, {"skus": skus}).all())


_ADD_LINES = insert(reservation_lines)
_DECREASE = (
    update(products)
    .where(products.c.sku == bindparam("of"))
    .values(on_hand=products.c.on_hand - bindparam("quantity"))
)


def reserve(session: Session, order_id: str, quantities: Mapping[str, int]) -> None:
    """Move these quantities from on hand to the order's reservation.

    The caller must hold the stock lock and have checked that the stock is sufficient.
    """
    session.execute(
        _ADD_LINES,
        [
            {"order_id": order_id, "sku": sku, "quantity": quantity}
            for sku, quantity in quantities.items()
        ],
    )
    session.execute(
        _DECREASE, [{"of": sku, "quantity": quantity} for sku, quantity in quantities.items()]
    )


def reject(session: Session, order_id: str) -> None:
    """Mark the order's new reservation as rejected."""
    session.execute(
        update(reservations)
        .where(reservations.c.order_id == order_id)
        .values(status=ReservationStatus.REJECTED)
    )


def sell(session: Session, order_ids: Sequence[str]) -> set[str]:
    """Turn open reservations into sales, and return the orders that had one."""
    return _close_reservations(session, order_ids, ReservationStatus.SOLD)


def release(session: Session, order_id: str) -> bool:
    """Close the order's open reservation, and return whether it had one.

    If so, the caller must put its pieces on hand again by `restock`.
    """
    return bool(_close_reservations(session, [order_id], ReservationStatus.RELEASED))


_CLOSE = (
    update(reservations)
    .where(
        reservations.c.order_id.in_(bindparam("order_ids", expanding=True)),
        reservations.c.status == ReservationStatus.RESERVED,
    )
    .values(status=bindparam("to"))
    .returning(reservations.c.order_id)
)


def _close_reservations(
    session: Session, order_ids: Sequence[str], status: ReservationStatus
) -> set[str]:
    """Set the status of open reservations; return the ids of their orders."""
    closed = session.execute(_CLOSE, {"order_ids": order_ids, "to": status})
    return set(closed.scalars())


def restock(session: Session, order_id: str) -> None:
    """Add the pieces of the order's reservation to on hand. The caller must hold the stock lock."""
    lines = select(reservation_lines.c.sku, reservation_lines.c.quantity).where(
        reservation_lines.c.order_id == order_id
    )
    increase = (
        update(products)
        .where(products.c.sku == bindparam("of"))
        .values(on_hand=products.c.on_hand + bindparam("quantity"))
    )
    session.execute(
        increase, [{"of": sku, "quantity": quantity} for sku, quantity in session.execute(lines)]
    )


def find_statuses(session: Session, order_ids: Sequence[str]) -> dict[str, ReservationStatus]:
    """Return the statuses of the reservations that exist, by order id."""
    found = select(reservations).where(reservations.c.order_id.in_(order_ids))
    return {row.order_id: ReservationStatus(row.status) for row in session.execute(found)}


def load_products(session: Session, loaded: Sequence[Product]) -> int:
    """Insert products, update the descriptions of existing ones, and return the number inserted."""
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
    inserted = set(session.execute(added, rows).scalars()) if rows else set()
    describe = (
        update(products)
        .where(products.c.sku == bindparam("of"))
        .values({name: bindparam(f"new_{name}") for name in _DESCRIPTION_COLUMNS})
    )
    existing = [
        {"of": row["sku"]} | {f"new_{name}": row[name] for name in _DESCRIPTION_COLUMNS}
        for row in rows
        if row["sku"] not in inserted
    ]
    if existing:
        session.execute(describe, existing)
    return len(inserted)


_DESCRIPTION_COLUMNS = ("name", "department", "price", "currency")


_PRODUCTS = select(products).where(_IS_ONE_OF_THESE).order_by(products.c.sku)


def find_products(session: Session, skus: Sequence[str]) -> list[Product]:
    """Return those of the products that exist, sorted by sku."""
    return [_product_of(row) for row in session.execute(_PRODUCTS, {"skus": skus})]


def list_products(session: Session, after: str, limit: int) -> list[Product]:
    """Return up to `limit` products by sku, from the first sku greater than `after`."""
    found = select(products).where(products.c.sku > after).order_by(products.c.sku).limit(limit)
    return [_product_of(row) for row in session.execute(found)]


def list_ledger(session: Session, after: str, limit: int) -> list[StockRow]:
    """Return the pieces of up to `limit` products, from the first sku greater than `after`.

    Reserved and sold pieces are summed from the reservations.
    """
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


def _product_of(row: Row[Any]) -> Product:
    return Product(row.sku, row.name, row.department, row.price, row.currency, row.on_hand)
