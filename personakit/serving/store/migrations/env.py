"""Runs migrations over the connection that `database.py` gives."""

from alembic import context

from personakit.serving.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
