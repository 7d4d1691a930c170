"""Alembic's entry point, which runs the revisions on the connection it is given."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,
    transaction_per_migration=True,
    # A revision that fails is rolled back on SQLite, too, because `migrate` begins its
    # transactions explicitly.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
