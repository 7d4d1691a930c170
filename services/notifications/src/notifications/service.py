"""The composition root of notifications."""

from chassis import Service
from notifications import api, handlers, tables
from notifications.rpc import Notifications
from notifications.settings import NotificationsSettings
from shop.notifications.v1 import NotificationsService

__all__ = ["service"]

service = Service(
    "notifications",
    settings=NotificationsSettings,
    events=[handlers.events],
    grpc=[(NotificationsService, Notifications)],
    http=[api.router],
    tables=tables.metadata,
    migrations="notifications.migrations",
)
