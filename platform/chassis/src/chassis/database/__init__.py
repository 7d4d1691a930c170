"""The service's database: transactions on threads of their own, migrations, leadership."""

from chassis.database.chunks import chunks
from chassis.database.database import Database
from chassis.database.faults import ConnectionLost, DatabaseAtFault, DatabaseDown
from chassis.database.identity import WrongDatabase
from chassis.database.migrate import migrate
from chassis.database.transaction import Publishes, ReadTransaction, Transaction
from chassis.database.work_session import TransactionMisused

__all__ = [
    "ConnectionLost",
    "Database",
    "DatabaseAtFault",
    "DatabaseDown",
    "Publishes",
    "ReadTransaction",
    "Transaction",
    "TransactionMisused",
    "WrongDatabase",
    "chunks",
    "migrate",
]
