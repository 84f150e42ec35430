"""Alembic's entry: runs the migrations on the connection the ledger opened."""

from alembic import context

from node.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
