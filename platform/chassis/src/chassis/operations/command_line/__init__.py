"""The operator's command line: `python -m <service> <noun> <verb> …`.

A noun is a module of this package with `ABOUT` and `add_verbs`. A verb is an `async def` that gets
an Operator and returns an exit code.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chassis.credentials import without_credentials
from chassis.database import ConnectionLost, DatabaseAtFault, DatabaseDown, identity
from chassis.database.engine import database_file, is_sqlite
from chassis.database.faults import find_cause
from chassis.database.identity import WrongDatabase
from chassis.events.jetstream.api import JetStreamError
from chassis.exit_codes import CONFIGURATION, FAILED, NOTHING, UNAVAILABLE, USAGE
from chassis.operations.command_line.arguments import ArgumentParser, Verbs
from chassis.operations.command_line.operator import Operator, Unreachable, WrongUsage
from chassis.operations.lanes import CannotMove
from chassis.settings import ServiceSettings
from chassis.telemetry import logging

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["NOUNS", "main", "parse"]

# The modules with the verbs, by noun.
NOUNS = {
    "dead-letters": "chassis.operations.command_line.dead_letters",
    "events": "chassis.operations.command_line.events",
    "outbox": "chassis.operations.command_line.outbox",
}
_INSUFFICIENT_PRIVILEGE = "42501"


def parse(program: str, arguments: Sequence[str], note: str = "") -> Namespace:
    """Parse the arguments of a noun and its verb; every help text ends with the note.

    Raises:
        SystemExit: the arguments are wrong, or ask for help.
    """
    parser = ArgumentParser(prog=program, allow_abbrev=False)
    nouns = parser.add_subparsers(dest="noun", metavar="NOUN", required=True)
    for noun, module in NOUNS.items():
        verbs_of = import_module(module)
        added = nouns.add_parser(noun, help=verbs_of.ABOUT, description=verbs_of.ABOUT, epilog=note)
        verbs_of.add_verbs(Verbs(added, note))
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        parsed.refuse(f"unknown arguments: {' '.join(unknown)}")
    return parsed


def main(service: "Service", settings: ServiceSettings, arguments: Namespace) -> int:
    """Run a verb and return the exit code."""
    if not service.has_database:
        print(f"{service.name} has no database, so it keeps no events", file=sys.stderr)
        return USAGE
    url = settings.database_url.get_secret_value()
    if is_sqlite(url) and not database_file(url).exists():  # Connecting would create it.
        return _refused(
            f"there is no database at {database_file(url)} (APP_DATABASE_URL): "
            "run the command in the service's folder, or name its database",
            CONFIGURATION,
        )
    logging.configure(service.name, settings, sys.stderr)
    try:
        return asyncio.run(_run(service, settings, arguments))
    except KeyboardInterrupt:
        return _refused("interrupted; check what was already changed", FAILED)


async def _run(service: "Service", settings: ServiceSettings, arguments: Namespace) -> int:
    """Run a command against the service's database; print an expected error as a line."""
    operator = Operator(service, settings, arguments)
    try:
        await operator.once_available(
            lambda: operator.database.read(
                lambda tx: identity.check(tx.session.connection(), service.name)
            )
        )
        code: int = await arguments.run(operator)
        return code
    except WrongDatabase as error:
        return _refused(str(error), CONFIGURATION)
    except WrongUsage as error:
        return _refused(str(error), USAGE)
    except CannotMove as error:
        return _refused(str(error), NOTHING)
    except Unreachable as error:
        return _refused(str(error), UNAVAILABLE)
    except (DatabaseDown, ConnectionLost) as error:
        return _refused(f"the database cannot be reached: {error}", UNAVAILABLE)
    except JetStreamError as error:
        return _refused(f"the broker refused: {error}", UNAVAILABLE)
    except (DatabaseAtFault, SQLAlchemyError) as error:
        reason = (str(error).splitlines() or [""])[0]
        return _refused(f"the database refused: {reason}; {_remedy(error, operator)}", FAILED)
    finally:
        operator.database.close()


def _remedy(error: Exception, operator: Operator) -> str:
    """Return what makes the database accept the same command."""
    refusal = find_cause(error, DBAPIError)
    if refusal is not None and getattr(refusal.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
        role = make_url(operator.settings.database_url.get_secret_value()).username
        return f"the owner of the database can grant it to the role {role}"
    return f"`{operator.command} migrate` creates missing tables"


def _refused(line: str, code: int) -> int:
    """Print why a command was refused; return its exit code."""
    print(without_credentials(line), file=sys.stderr)
    return code
