"""The composition root of payments."""

from chassis import Service
from payments import handlers, tables
from payments.rpc import Payments
from payments.settings import PaymentsSettings
from shop.payments.v1 import (
    PaymentAuthorized,
    PaymentDeclined,
    PaymentRefunded,
    PaymentsService,
)

__all__ = ["service"]

service = Service(
    "payments",
    settings=PaymentsSettings,
    events=[handlers.events],
    grpc=[(PaymentsService, Payments)],
    publishes=[PaymentAuthorized, PaymentDeclined, PaymentRefunded],
    tables=tables.metadata,
    migrations="payments.migrations",
)
