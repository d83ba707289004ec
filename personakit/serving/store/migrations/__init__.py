"""Changes of the tables, one after another (Alembic)."""
