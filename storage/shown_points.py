"""What of members' points a store shows in its customers' records, and whose record is to be written anew.

Nothing is asked for when points move: entries of a program have rising ids in the order of their commits (whoever writes
them holds the program's lock), so those after the last one that was looked at tell whose balance has changed. What else
changes a balance (two members turn out to be one) is found by comparing everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from storage import plans
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class PointsToShow:
    """A customer of the store, and how many points the person behind them has now."""

    store_customer_id: int
    external_id: str
    points: int


@dataclass(frozen=True, slots=True)
class Touched:
    """Members whose balance has changed, and the last entry that says so."""

    member_ids: Sequence[int]
    through: int


# Guests have no record. Where none was written, nothing and zero are the same.
_DUE = """
SELECT sc.id AS store_customer_id, sc.external_id, total.points
FROM {customers} sc
CROSS JOIN LATERAL (SELECT coalesce(merged_into, id) AS id FROM members WHERE id = sc.member_id OFFSET 0) root
CROSS JOIN LATERAL (
    SELECT sum(g.balance)::bigint AS points FROM (
        SELECT balance FROM members WHERE id = root.id
        UNION ALL SELECT balance FROM members WHERE merged_into = root.id) g) total
LEFT JOIN LATERAL (
    SELECT points FROM shown_points WHERE store_id = sc.store_id AND store_customer_id = sc.id OFFSET 0) shown ON true
WHERE sc.store_id = %(store)s AND sc.deleted_at IS NULL AND sc.external_id NOT LIKE 'guest:%%'
    AND coalesce(shown.points, 0) <> total.points
"""

_OF_MEMBERS = """(
    SELECT coalesce(merged_into, id) AS id FROM members WHERE id = ANY(%(members)s)
    UNION SELECT x.id FROM members m CROSS JOIN LATERAL (
        SELECT id FROM members WHERE merged_into = coalesce(m.merged_into, m.id) OFFSET 0) x
    WHERE m.id = ANY(%(members)s)) person
CROSS JOIN LATERAL (SELECT * FROM store_customers WHERE member_id = person.id OFFSET 0)"""


async def through(connection: Connection, store_id: int) -> int | None:
    """The entry up to which the store shows all balances; None: everybody's is to be compared."""
    cursor = await connection.execute("SELECT points_shown_through FROM stores WHERE id = %s", (store_id,))
    found = await cursor.fetchone()
    return None if found is None else found["points_shown_through"]


async def set_through(connection: Connection, store_id: int, entry_id: int | None) -> None:
    """Notes how far the store is up to date; None has everybody compared."""
    await connection.execute(
        "UPDATE stores SET points_shown_through = %s WHERE id = %s", (entry_id, store_id)
    )


async def last_entry(connection: Connection, program_id: int) -> int:
    """The program's last entry; 0 while it has none."""
    cursor = await connection.execute(
        "SELECT coalesce(max(id), 0) AS id FROM ledger_entries WHERE program_id = %s", (program_id,)
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["id"])


async def touched(connection: Connection, program_id: int, after_entry: int, limit: int) -> Touched | None:
    """Whom the program's next entries are of; None when there are no more."""
    cursor = await connection.execute(
        """SELECT max(id) AS through, array_agg(DISTINCT member_id) AS member_ids FROM (
               SELECT id, member_id FROM ledger_entries WHERE program_id = %s AND id > %s ORDER BY id LIMIT %s) e""",
        (program_id, after_entry, limit),
    )
    found = await cursor.fetchone()
    return (
        None if found is None or found["through"] is None else Touched(found["member_ids"], found["through"])
    )


async def due_of(connection: Connection, store_id: int, member_ids: Sequence[int]) -> list[PointsToShow]:
    """Of these members, and of whoever is the same person, those customers whose record shows another number."""
    await plans.by_key(connection)
    cursor = await connection.execute(
        _DUE.format(customers=_OF_MEMBERS), {"store": store_id, "members": list(member_ids)}
    )
    return [PointsToShow(**found) for found in await cursor.fetchall()]


async def due_after(
    connection: Connection, store_id: int, after_external_id: str, limit: int
) -> list[PointsToShow]:
    """Of all the store's customers, the next whose record shows another number, by their external ids."""
    await plans.by_key(connection)
    next_ones = " AND sc.external_id > %(after)s ORDER BY sc.external_id LIMIT %(limit)s"
    cursor = await connection.execute(
        _DUE.format(customers="store_customers") + next_ones,
        {"store": store_id, "after": after_external_id, "limit": limit},
    )
    return [PointsToShow(**found) for found in await cursor.fetchall()]


async def keep(
    connection: Connection,
    *,
    program_id: int,
    store_id: int,
    shown: Iterable[PointsToShow],
    refused: Mapping[str, str],
    now: datetime,
) -> None:
    """Notes what was written, or why the store would not take it: until the points change it is not asked again."""
    rows = [(one.store_customer_id, one.points, refused.get(one.external_id)) for one in shown]
    ids, points, reasons = zip(*rows, strict=True) if rows else ((), (), ())
    await connection.execute(
        """INSERT INTO shown_points (program_id, store_id, store_customer_id, points, refused, shown_at)
           SELECT %s, %s, customer, points, refused, %s
           FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS told (customer, points, refused)
           ON CONFLICT (store_id, store_customer_id) DO UPDATE
           SET points = excluded.points, refused = excluded.refused, shown_at = excluded.shown_at""",
        (program_id, store_id, now, list(ids), list(points), list(reasons)),
    )


async def forget(connection: Connection, store_id: int) -> None:
    """The store shows nothing (any more), as far as we know: all of it is written again."""
    await connection.execute("DELETE FROM shown_points WHERE store_id = %s", (store_id,))
    await set_through(connection, store_id, None)


async def stores_with_due(connection: Connection, platforms: Sequence[str], setting: str) -> list[int]:
    """Active stores of these platforms, unless this setting is off, whose points have moved or are to be compared."""
    cursor = await connection.execute(
        """SELECT s.id FROM stores s
           WHERE s.status = 'active' AND s.platform = ANY(%s) AND coalesce(s.settings ->> %s, 'on') = 'on'
               AND (s.points_shown_through IS NULL OR EXISTS (
                   SELECT FROM ledger_entries e
                   WHERE e.program_id = s.program_id AND e.id > s.points_shown_through))
           ORDER BY s.id""",
        (list(platforms), setting),
    )
    return [found["id"] for found in await cursor.fetchall()]
