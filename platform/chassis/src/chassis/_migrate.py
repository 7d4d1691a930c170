"""`python -m <service> migrate`: bring the service's database to its newest revision."""

import sys
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from chassis import exit_codes
from chassis._wait_notice import WaitNotice
from chassis.credentials import without_credentials
from chassis.database import DatabaseDown, WrongDatabase
from chassis.database import migrate as migrate_database
from chassis.database.migrate import Diverged
from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["migrate"]

_RETRY_SECONDS = 1.0


def migrate(service: "Service", settings: ServiceSettings, wait_seconds: float = 0) -> int:
    """Bring the service's database to its newest revision and return the exit code.

    If the database is unavailable, retry for at most `wait_seconds`.
    """
    ends_at = time.monotonic() + wait_seconds
    if not service.has_database:
        print(f"{service.name} has no database")
        return exit_codes.OK
    url = settings.database_url.get_secret_value()
    notice = WaitNotice()
    try:
        while True:
            try:
                migration = migrate_database(url, service.migrations, service=service.name)
                break
            except (DatabaseDown, TimeoutError) as error:
                if time.monotonic() >= ends_at:
                    raise
                notice.print(str(error))
            time.sleep(_RETRY_SECONDS)
    except (WrongDatabase, SQLAlchemyError, Diverged, ValueError) as error:
        print(without_credentials(f"migration failed: {error}"), file=sys.stderr)
        return exit_codes.FAILED
    except (DatabaseDown, TimeoutError) as error:
        print(without_credentials(f"not migrated: {error}"), file=sys.stderr)
        return exit_codes.UNAVAILABLE
    print(migration)
    return exit_codes.OK
