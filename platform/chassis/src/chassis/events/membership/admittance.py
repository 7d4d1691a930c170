"""The permission of a member to read and publish, which only one database of a group has."""

import asyncio

import structlog

from chassis.telemetry import metrics

__all__ = ["Admittance"]

_log = structlog.get_logger(__name__)


class Admittance:
    """The permission of a member to read and publish.

    Attributes:
        joined: Set while it may read and publish.
        barred: Set while it may not because of another database.
        refused: Why it is barred; empty if it is not.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self.joined = asyncio.Event()
        self.barred = asyncio.Event()
        self.refused = ""

    def bar(self, database: str | None, rival: tuple[str, str]) -> None:
        """Forbid reading and publishing with a database because of the rival's.

        `rival` is another database that takes precedence, and one of its members.
        """
        rival_database, member = rival
        reason = (
            f"member {member} handles the events of {self._service} with database "
            f"{rival_database}, and this replica has {database}: give all replicas of "
            f"{self._service} the same APP_DATABASE_URL, or rename one of the two services"
        )
        if reason != self.refused:
            _log.error("another database is in use; reading and publishing stopped", reason=reason)
        self.refused = reason
        self.joined.clear()
        self.barred.set()
        metrics.EVENT_DATABASE_REFUSED.set(1)

    def admit(self) -> bool:
        """Allow reading and publishing; return whether that was not allowed before."""
        if self.refused:
            _log.warning("members with the other database are gone; reading and publishing resumed")
        was_joined = self.joined.is_set()
        self.refused = ""
        self.barred.clear()
        self.joined.set()
        metrics.EVENT_DATABASE_REFUSED.set(0)
        return not was_joined
