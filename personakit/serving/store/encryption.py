"""Sealed bytes (AES-256-GCM), and the master key that seals the users' keys.

A sealed value is bound to its place (user, table, number) and cannot be opened at another one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from personakit.errors import UserError

VARIABLE = "PERSONAKIT_MASTER_KEY"
FILE = "master.key"
_BYTES, _NONCE = 32, 12


class UnreadableError(Exception):
    """Sealed bytes that this key does not open: another key, another place, or changed bytes."""


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


def master_key(folder: Path, *, create: bool) -> bytes:
    """Return the master key: of the environment, else of the file `master.key` in `folder`.

    With `create`, a missing file is written, readable by its owner only. Raises `UserError` if there is no
    key, if it is not one, or if others may read the file.
    """
    path = folder / FILE
    given = os.environ.get(VARIABLE)
    if given:
        return _decoded(given, VARIABLE)
    if not path.exists():
        if not create:
            raise UserError(
                f"{path}: no such file, expected the master key that opens this profile store",
                hint=f"restore the file, or set {VARIABLE}",
            )
        _write_once(path, base64.urlsafe_b64encode(new_key()) + b"\n")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UserError(f"{path}: its mode is {mode:04o}, expected 0600", hint=f"chmod 600 {path}")
    return _decoded(path.read_text(encoding="ascii", errors="replace"), str(path))


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


def _write_once(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 unless another process has written it in the meantime."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
