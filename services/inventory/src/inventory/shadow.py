"""The products, which a shadow copies with the stock that they had before any reservation."""

from sqlalchemy import func, select

from chassis import Shadow
from inventory.domain import ReservationStatus
from inventory.tables import products, reservation_lines, reservations

__all__ = ["shadow"]

_taken = (
    select(reservation_lines.c.sku, func.sum(reservation_lines.c.quantity).label("pieces"))
    .join(reservations)
    .where(reservations.c.status.in_([ReservationStatus.RESERVED, ReservationStatus.SOLD]))
    .group_by(reservation_lines.c.sku)
    .subquery()
)
_others = [column for column in products.c if column.name != "on_hand"]
_before = select(
    *_others, (products.c.on_hand + func.coalesce(_taken.c.pieces, 0)).label("on_hand")
).select_from(products.outerjoin(_taken, _taken.c.sku == products.c.sku))

shadow = Shadow(copies={products: _before})
