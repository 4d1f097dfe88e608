"""How many calls at a time our processes have in a store: a row for each store, by the database's clock.

What stands in it is told in connectors/places.py; why it is a row, in docs/decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from storage.database import Connection

_LOCKED = """
INSERT INTO places AS p (store_id, standing, used_at) VALUES (%s, '{}', clock_timestamp())
ON CONFLICT (store_id) DO UPDATE SET used_at = clock_timestamp()
RETURNING standing, extract(epoch FROM clock_timestamp())::float8 AS now
"""


async def locked(connection: Connection, store_id: int) -> tuple[Mapping[str, Any], float]:
    """What stands there, which nobody else changes until the transaction ends, and the moment in seconds."""
    found = await (await connection.execute(_LOCKED, (store_id,))).fetchone()
    assert found is not None
    return found["standing"], found["now"]


async def keep(connection: Connection, store_id: int, standing: Mapping[str, Any]) -> None:
    """What stands there from now on."""
    await connection.execute(
        "UPDATE places SET standing = %s WHERE store_id = %s", (Jsonb(dict(standing)), store_id)
    )


async def remove_idle(connection: Connection) -> None:
    """Removes the rows of stores that nobody called in a day."""
    await connection.execute("DELETE FROM places WHERE used_at < clock_timestamp() - interval '1 day'")
