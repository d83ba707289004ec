"""The service: an OpenAI-compatible API in front of a base model, and the profile store behind it."""

from __future__ import annotations

import importlib.util

from personakit.errors import UserError

# What the command line shows as defaults, without an import of the packages of the service.
FOLDER = "profiles"
"""The store's default folder; with a database elsewhere, the folder of its master key."""
DEFAULT_TENANT = "default"
"""The tenant of users and keys that name none."""
HOST, PORT = "127.0.0.1", 8000
BASE_SECONDS, REWRITE_SECONDS = 60.0, 30.0
"""The longest waits for the base model, and for a rewrite or a summary."""
STORE_SECONDS = 10.0
"""The longest waits for the profile store: for a lock that another transaction holds, for a connection, and
for a thread to make a change on. Our choice."""
MAX_BODY_BYTES = 1_000_000
MAX_ITEMS = 2000
"""The most items of a user, by default: an answer reads all of them."""
CONCURRENCY = 128
"""The most requests at once of a key, by default: half of what may wait for the local models."""
MAX_TOKENS = 1024
"""The longest answer of a local base model, by default: others wait until it is complete."""
_PACKAGES = ("aiohttp", "alembic", "cryptography", "fastapi", "prometheus_client", "sqlalchemy", "uvicorn")


def require_packages() -> None:
    """Raise `UserError` if the packages of the service are not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the service needs {', '.join(missing)}, which is not installed"
            if len(missing) == 1
            else f"the service needs {', '.join(missing)}, which are not installed",
            hint='install them with pip install "personakit[serve]"',
        )
