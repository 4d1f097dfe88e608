"""How large a past-action run is, and what undoing it would change: for progress and for questions to the merchant."""

from __future__ import annotations

from dataclasses import dataclass

from storage.backfill import RunRow
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class UndoEffect:
    """What undoing takes away. `below_zero`: members who spent points that are taken back."""

    entries: int
    points: int
    members: int
    below_zero: int


async def left_to_look_at(connection: Connection, run: RunRow) -> int:
    """How many members and orders a run still looks at."""
    ways = run.preview["ways"]
    through = {kind: (ways.get(kind) or {}).get("through") or 0 for kind in ("sign_up", "place_order")}
    cursor = await connection.execute(
        """SELECT (SELECT count(*) FROM members m WHERE m.program_id = %(program)s AND m.merged_into IS NULL
                       AND m.id > %(member)s AND m.id <= %(last_member)s
                       AND m.id IN (SELECT coalesce(g.merged_into, g.id) FROM store_customers sc
                                    JOIN members g ON g.id = sc.member_id WHERE sc.store_id = %(store)s))
                + (SELECT count(*) FROM orders o WHERE o.store_id = %(store)s
                       AND o.id > %(order)s AND o.id <= %(last_order)s) AS facts""",
        {
            "program": run.program_id,
            "store": run.store_id,
            "member": int(run.cursor.get("sign_up", 0)),
            "order": int(run.cursor.get("place_order", 0)),
            "last_member": through["sign_up"],
            "last_order": through["place_order"],
        },
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["facts"])


async def undo_effect(connection: Connection, run: RunRow) -> UndoEffect:
    """What undoing the run now would take away: its own entries, and what was taken back from its awards since."""
    cursor = await connection.execute(
        """WITH gone AS (
               SELECT e.member_id, sum(e.points) AS points, count(*) AS entries FROM ledger_entries e
               WHERE e.program_id = %(program)s AND e.reason <> 'undo' AND (e.run_id = %(run)s OR e.reverses_id IN (
                         SELECT a.id FROM ledger_entries a WHERE a.run_id = %(run)s))
                   AND NOT EXISTS (SELECT FROM ledger_entries u
                                   WHERE u.program_id = %(program)s AND u.key = 'reverses:' || e.id)
               GROUP BY e.member_id)
           SELECT coalesce(sum(gone.entries), 0)::bigint AS entries, coalesce(sum(gone.points), 0)::bigint AS points,
               count(*) FILTER (WHERE gone.points <> 0) AS members,
               count(*) FILTER (WHERE gone.points > 0 AND m.balance < gone.points) AS below_zero
           FROM gone JOIN members m ON m.id = gone.member_id""",
        {"program": run.program_id, "run": run.id},
    )
    found = await cursor.fetchone()
    assert found is not None
    return UndoEffect(**found)
