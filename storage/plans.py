"""How the server plans statements over tables that are just being filled."""

from __future__ import annotations

from storage.database import Connection

# Columns of a SELECT, which may have others beside them.
BY_KEY = ", ".join(f"set_config('enable_{way}', 'off', true)" for way in ("seqscan", "hashjoin", "mergejoin"))


async def by_key(connection: Connection) -> None:
    """Plans the rest of the transaction as look-ups by key, in the order in which the statements are written.

    New tables have no statistics, and a plan made (and kept) for an empty table would read the whole of a full one for
    every chunk. Statements for chunks also say so themselves: look-ups in them are subqueries with OFFSET 0, which the
    planner does not turn around.
    """
    await connection.execute(f"SELECT {BY_KEY}")
