"""Budgets of calls that all our processes share: a row each, moved by one statement and by the database's clock.

What the two moments mean is told in docs/decisions/0008-budgets-in-a-row.md.
"""

from __future__ import annotations

from storage.database import Connection

IDLE_DAYS = 1  # a budget that nobody used for so long is full: its row says nothing

_LEASE = """
INSERT INTO budgets AS b (store_id, name, full_at, opens_at)
VALUES (%(store)s, %(name)s, clock_timestamp() + make_interval(secs => %(seconds)s), clock_timestamp())
ON CONFLICT (store_id, name) DO UPDATE
SET full_at = greatest(b.full_at, b.opens_at, clock_timestamp()) + make_interval(secs => %(seconds)s)
RETURNING extract(epoch FROM full_at - clock_timestamp())::float8 - %(seconds)s AS starts_in,
    greatest(0, extract(epoch FROM opens_at - clock_timestamp()))::float8 AS opens_in
"""
_CORRECT = """
INSERT INTO budgets AS b (store_id, name, full_at, opens_at)
VALUES (%(store)s, %(name)s, clock_timestamp() + make_interval(secs => %(full_in)s), clock_timestamp())
ON CONFLICT (store_id, name) DO UPDATE
SET full_at = clock_timestamp() + make_interval(secs =>
    least(greatest(extract(epoch FROM b.full_at - clock_timestamp())::float8, %(full_in)s), %(full_in)s + %(slack)s))
WHERE greatest(0, extract(epoch FROM b.full_at - clock_timestamp())) NOT BETWEEN %(full_in)s AND %(full_in)s + %(slack)s
"""
_PAUSE = """
INSERT INTO budgets AS b (store_id, name, full_at, opens_at)
VALUES (%(store)s, %(name)s, clock_timestamp(), clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (store_id, name) DO UPDATE SET opens_at = greatest(b.opens_at, excluded.opens_at)
"""


async def lease(connection: Connection, store_id: int, name: str, seconds: float) -> tuple[float, float]:
    """Takes so many seconds of the budget's refilling; in how many seconds they start, and when it opens."""
    cursor = await connection.execute(_LEASE, {"store": store_id, "name": name, "seconds": seconds})
    found = await cursor.fetchone()
    assert found is not None
    return found["starts_in"], found["opens_in"]


async def correct(connection: Connection, store_id: int, name: str, *, full_in: float, slack: float) -> bool:
    """The budget is full in so many seconds, or at most `slack` later; False when the row says so already."""
    values = {"store": store_id, "name": name, "full_in": full_in, "slack": slack}
    return (await connection.execute(_CORRECT, values)).rowcount > 0


async def pause(connection: Connection, store_id: int, name: str, seconds: float) -> None:
    """Opens the budget no sooner than in so many seconds."""
    await connection.execute(_PAUSE, {"store": store_id, "name": name, "seconds": seconds})


async def remove_idle(connection: Connection) -> None:
    """Removes the rows of budgets that nobody used lately."""
    await connection.execute(
        "DELETE FROM budgets WHERE greatest(full_at, opens_at) < clock_timestamp() - make_interval(days => %s)",
        (IDLE_DAYS,),
    )
