"""Secrets at rest: AES-256-GCM, bound to their store and column, so that a sealed value works nowhere else.

A sealed value is `format (1) | key id (4) | nonce (12) | ciphertext and tag`. The key id is taken from the key itself,
so that several keys can be held while they are changed: the newest seals, all open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rewards.errors import DatabaseError

KEY_FILE = "secret.key"
KEY_BYTES = 32
_FORMAT = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12


class SecretBox:
    """Seals and opens what must not be readable in a copy of the database."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._newest = _key_id(keys[0])
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}

    @classmethod
    def open(cls, key_text: str | None, data_dir: Path) -> SecretBox:
        """Takes the keys of PERENNIAL_SECRET_KEY, or the data folder's own key, made at first use.

        Raises DatabaseError when a key cannot be read or is not one.
        """
        if key_text is not None and key_text.strip():
            return cls(
                [_decoded(part, "PERENNIAL_SECRET_KEY") for part in key_text.split(",") if part.strip()]
            )
        file = data_dir.expanduser() / KEY_FILE
        return cls([_decoded(_text_of(file), str(file))])

    def __repr__(self) -> str:
        return f"SecretBox({len(self._ciphers)} keys)"

    def seal(self, plain: str, store_id: int, column: str) -> bytes:
        """Encrypts text for one store's column, with the newest key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, plain.encode(), _bound_to(store_id, column))
        return _FORMAT + self._newest + nonce + sealed

    def open_sealed(self, sealed: bytes, store_id: int, column: str) -> str:
        """The text again. Raises DatabaseError when the key is missing, or the value is not this column's."""
        key_id, nonce, rest = _parts(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise DatabaseError(
                f"The secret '{column}' of row {store_id} was sealed with a key that is not here. Put the earlier key back: "
                f"as PERENNIAL_SECRET_KEY (several, newest first, with commas between), or as {KEY_FILE} in the data "
                "folder. Without it, connect the store again."
            )
        try:
            return cipher.decrypt(nonce, rest, _bound_to(store_id, column)).decode()
        except InvalidTag:
            raise DatabaseError(
                f"The secret '{column}' of row {store_id} has been altered or moved in the database and cannot be opened. "
                "Restore them from a backup, or connect the store again."
            ) from None

    def is_current(self, sealed: bytes) -> bool:
        """False when an earlier key sealed the value, so that it should be sealed again before that key goes."""
        return _parts(sealed)[0] == self._newest


def new_key() -> str:
    """A fresh key as text, as PERENNIAL_SECRET_KEY takes it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"perennial key id" + key).digest()[:_KEY_ID_BYTES]


def _bound_to(store_id: int, column: str) -> bytes:
    return f"{store_id}:{column}".encode()


def _parts(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    """Key id, nonce and the rest. Raises DatabaseError for what cannot be a sealed value."""
    sealed = bytes(sealed)
    start = len(_FORMAT) + _KEY_ID_BYTES
    if not sealed.startswith(_FORMAT) or len(sealed) < start + _NONCE_BYTES + 16:
        raise DatabaseError(
            "A stored secret is damaged. Restore it from a backup, or connect the store again."
        )
    return sealed[len(_FORMAT) : start], sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]


def _decoded(text: str, origin: str) -> bytes:
    """A key's bytes; both alphabets of base64 are fine."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise DatabaseError(
            f"{origin} does not hold a key: {KEY_BYTES} random bytes in base64. Make one with "
            "`openssl rand -base64 32`, or put the earlier one back from your backup."
        )
    return key


def _text_of(file: Path) -> str:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _create(file)
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise DatabaseError(f"Others may read {file}. Close it: chmod 600 {file}")
        return file.read_text()
    except OSError as error:
        raise DatabaseError(
            f"The key file {file} cannot be used ({error.strerror}). Run Perennial as the data folder's owner, or "
            "give the key as PERENNIAL_SECRET_KEY."
        ) from error


def _create(file: Path) -> None:
    """Writes a new key whole and on disk before it gets its name; of several processes one wins."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as written:
            written.write(new_key() + "\n")
            written.flush()
            os.fsync(written.fileno())
        os.link(unfinished, file)  # fails, as O_EXCL does, when the file is there
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
