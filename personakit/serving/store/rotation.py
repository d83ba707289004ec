"""Another master key for a profile store.

The new key is kept first, then all keys of users are sealed with it in one transaction, then it takes the old
one's place. A store is opened with the key that fits, so it can be read after each of these steps.
"""

from __future__ import annotations

import os

from filelock import FileLock

from personakit.errors import UserError
from personakit.serving.store.database import open_databases
from personakit.serving.store.encryption import (
    FILE,
    NEXT_FILE,
    NEXT_VARIABLE,
    VARIABLE,
    keep_key,
    key_in_environment,
    key_in_file,
    sync_folder,
)
from personakit.serving.store.vault import Vault


def rotate_master_key(place: str) -> int:
    """Give the store of `place` another master key; return the number of users' keys sealed with it.

    It is the one in the environment (`PERSONAKIT_NEXT_MASTER_KEY`), which is then to be made the master key
    there. Without one, a new one is made and replaces the file `master.key`. After an interruption, call this
    again: the store keeps the new key if it has it already, and 0 is returned. Raises `UserError`.
    """
    _, keys, folder = open_databases(place, create=False)
    given = key_in_environment(NEXT_VARIABLE)
    if given is not None:
        return Vault(keys, folder).rotate(given)
    if os.environ.get(VARIABLE):
        raise UserError(
            f"the master key is in {VARIABLE}: the new one is missing",
            hint=f'{NEXT_VARIABLE}=$(python -c "import base64, os; '
            'print(base64.urlsafe_b64encode(os.urandom(32)).decode())")',
        )
    with FileLock(folder / ".rotation.lock"):
        vault = Vault(keys, folder)
        keep_key(folder / NEXT_FILE)
        new = key_in_file(folder / NEXT_FILE)
        assert new is not None
        changed = vault.rotate(new)
        os.replace(folder / NEXT_FILE, folder / FILE)
        sync_folder(folder)
    return changed
