"""Sealed bytes (AES-256-GCM), and the master key that seals the users' keys.

A sealed value is bound to its place (user, table, number) and cannot be opened at another one.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from personakit.errors import RunError, UserError

VARIABLE, NEXT_VARIABLE = "PERSONAKIT_MASTER_KEY", "PERSONAKIT_NEXT_MASTER_KEY"
FILE, NEXT_FILE = "master.key", "master.key.next"
_BYTES, _NONCE = 32, 12


class UnreadableError(Exception):
    """Sealed bytes that this key does not open: another key, another place, or changed bytes."""


class OtherMasterKeyError(RunError):
    """None of the master keys at hand opens the profile store."""


def new_key() -> bytes:
    """Return a random key."""
    return os.urandom(_BYTES)


def seal(key: bytes, content: bytes, *place: object) -> bytes:
    """Return `content` encrypted for `place`: a random nonce, then ciphertext and tag."""
    nonce = os.urandom(_NONCE)
    sealed: bytes = AESGCM(key).encrypt(nonce, content, _bound_to(place))
    return nonce + sealed


def unseal(key: bytes, sealed: bytes, *place: object) -> bytes:
    """Return what `seal` encrypted; raises `UnreadableError`."""
    try:
        content: bytes = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound_to(place))
    except (InvalidTag, ValueError) as error:
        raise UnreadableError from error
    return content


def secret_hash(secret: str) -> bytes:
    """Return what is stored of an API key. It has 256 random bits, so one round without salt is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _bound_to(place: tuple[object, ...]) -> bytes:
    return "\0".join(map(str, place)).encode()


def master_keys(folder: Path, *, create: bool = False) -> list[bytes]:
    """Return the next master keys (`rotation.py`), then the master key.

    They are in the environment and in files in `folder`. With `create`, a missing master key is made.
    Raises `UserError` if there is no master key, if one is not a key, or if others may read its file.
    """
    next_keys, key = [key_in_environment(NEXT_VARIABLE)], key_in_environment(VARIABLE)
    if key is None:
        next_keys.append(key_in_file(folder / NEXT_FILE))  # read first: it may become the master key now
        if create:
            keep_key(folder / FILE)
        key = key_in_file(folder / FILE)
    if key is None:
        raise UserError(
            f"{folder / FILE}: no such file, expected the master key that opens this profile store",
            hint=f"restore the file, or set {VARIABLE}",
        )
    return [*filter(None, next_keys), key]


def key_in_environment(variable: str) -> bytes | None:
    """Return the key in a variable of the environment, if it is set."""
    given = os.environ.get(variable)
    return _decoded(given, variable) if given else None


def key_in_file(path: Path) -> bytes | None:
    """Return the key in a file, if there is the file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise UserError(f"{path}: its mode is {mode:04o}, expected 0600", hint=f"chmod 600 {path}")
    return _decoded(text, str(path))


def keep_key(path: Path) -> None:
    """Write a new key to a file with mode 0600, unless there is one; then it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(base64.urlsafe_b64encode(new_key()) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _decoded(text: str, place: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _BYTES:
        raise UserError(
            f"{place}: not a master key, expected {_BYTES} bytes in base64",
            hint="restore the one that the store was made with; a new store makes its own",
        )
    return key
