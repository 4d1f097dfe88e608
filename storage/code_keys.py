"""The random key of a program from which its promotion codes are worked out.

It is made once, sealed with the secrets key, and never changes: codes stay the same when the secrets key is rotated.
"""

from __future__ import annotations

import secrets

from rewards.errors import NotFoundError
from storage.database import Connection
from storage.secrets import SecretBox

_LENGTH = 32
_COLUMN = "code_key"  # part of what the seal is bound to


async def code_key(connection: Connection, box: SecretBox, program_id: int) -> bytes:
    """The program's key, made on first use. Raises NotFoundError."""
    sealed = await _stored(connection, program_id)
    if sealed is None:
        made = box.seal(secrets.token_hex(_LENGTH), program_id, _COLUMN)
        # Whoever comes second keeps the key of whoever came first.
        await connection.execute(
            "UPDATE programs SET code_key = %s WHERE id = %s AND code_key IS NULL", (made, program_id)
        )
        sealed = await _stored(connection, program_id)
    assert sealed is not None, "the key was stored by the statement before"
    return bytes.fromhex(box.open_sealed(sealed, program_id, _COLUMN))


async def _stored(connection: Connection, program_id: int) -> bytes | None:
    cursor = await connection.execute("SELECT code_key FROM programs WHERE id = %s", (program_id,))
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no program {program_id}.")
    return None if found["code_key"] is None else bytes(found["code_key"])
