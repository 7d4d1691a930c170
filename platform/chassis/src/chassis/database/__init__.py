"""The service's database: transactions that run on threads, migrations, leadership."""

from chassis.database.chunks import chunks
from chassis.database.database import Database
from chassis.database.deferred import DeferredFailed
from chassis.database.faults import ConnectionLost, DatabaseAtFault, DatabaseDown
from chassis.database.identity import WrongDatabase
from chassis.database.migrate import migrate
from chassis.database.transaction import CreatesEvents, ReadTransaction, Transaction
from chassis.database.transaction_guard import TransactionMisused

__all__ = [
    "ConnectionLost",
    "CreatesEvents",
    "Database",
    "DatabaseAtFault",
    "DatabaseDown",
    "DeferredFailed",
    "ReadTransaction",
    "Transaction",
    "TransactionMisused",
    "WrongDatabase",
    "chunks",
    "migrate",
]
