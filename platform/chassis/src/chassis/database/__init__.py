"""The service's database: transactions on threads of their own, migrations, leadership."""

from chassis.database.database import ConnectionLost, Database, DatabaseDown
from chassis.database.migrate import migrate
from chassis.database.transaction import Publishes, ReadTransaction, Transaction

__all__ = [
    "ConnectionLost",
    "Database",
    "DatabaseDown",
    "Publishes",
    "ReadTransaction",
    "Transaction",
    "migrate",
]
