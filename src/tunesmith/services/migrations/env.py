"""Alembic runs this to reach the database: the connection it was given, inside the transaction that is open there."""

from alembic import context

from tunesmith.services.store import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot change a column: the table is made anew and its rows are copied.
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
