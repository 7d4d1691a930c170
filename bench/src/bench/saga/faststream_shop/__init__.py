"""The sample shop as FastStream, FastAPI and SQLAlchemy's asynchronous layer make it.

The services are those of the platform's shop without its gateway: orders has the REST API. Each has
an inbox, an outbox that is polled each 100 ms, and a database.
"""
