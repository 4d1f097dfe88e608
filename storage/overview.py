"""Stores as lists show them: with their program, how much of them is known and how their inbox stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from storage.database import Connection


@dataclass(frozen=True, slots=True)
class StoreOverview:
    """One store and its figures. `guests` are people whom no account is known of; `points` all balances together."""

    id: int
    platform: str
    external_id: str
    name: str
    status: str
    status_reason: str | None
    time_zone: str
    currency: str
    program_id: int
    program_is_on: bool
    earning_from: datetime | None
    webhook_address: str | None
    polled_because: str | None
    notices: list[str]
    installed_at: datetime
    synced_at: datetime | None
    last_reconciled_on: date | None
    sync_error: str | None
    customers: int
    guests: int
    orders: int
    coupons: int
    points: int
    grants: int
    grants_refused: int  # and still of use to their members if the store took them
    deliveries_waiting: int
    deliveries_handled: int
    deliveries_broken: int


_OVERVIEW = """
SELECT s.id, s.platform, s.external_id, s.name, s.status, s.status_reason, s.time_zone, s.currency, s.program_id,
    p.is_on AS program_is_on, s.earning_from, s.webhook_address, s.polled_because,
    coalesce(s.notices, '[]') AS notices, s.installed_at, s.synced_at, s.last_reconciled_on,
    (SELECT r.error FROM import_runs r WHERE r.store_id = s.id AND r.state = 'running'
     ORDER BY r.id DESC LIMIT 1) AS sync_error,
    people.customers, people.guests,
    (SELECT count(*) FROM orders o WHERE o.store_id = s.id) AS orders,
    (SELECT count(*) FROM coupons c WHERE c.store_id = s.id AND c.deleted_at IS NULL) AS coupons,
    (SELECT coalesce(sum(e.points), 0)::bigint FROM ledger_entries e
     WHERE e.program_id = s.program_id AND e.store_id = s.id) AS points,
    (SELECT count(*) FROM grants g WHERE g.store_id = s.id) AS grants,
    (SELECT count(*) FROM grants g WHERE g.store_id = s.id AND g.state = 'failed' AND g.valid_until >= %(now)s)
        AS grants_refused,
    inbox.waiting AS deliveries_waiting, inbox.handled AS deliveries_handled, inbox.broken AS deliveries_broken
FROM stores s JOIN programs p ON p.id = s.program_id
CROSS JOIN LATERAL (
    SELECT count(DISTINCT root.id) FILTER (WHERE root.has_account) AS customers,
        count(DISTINCT root.id) FILTER (WHERE NOT root.has_account) AS guests
    FROM store_customers sc JOIN members m ON m.id = sc.member_id
    JOIN members root ON root.id = coalesce(m.merged_into, m.id)
    WHERE sc.store_id = s.id AND sc.deleted_at IS NULL
) people
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.state = 'waiting') AS waiting,
        count(*) FILTER (WHERE d.state = 'handled') AS handled,
        count(*) FILTER (WHERE d.state = 'broken') AS broken
    FROM deliveries d WHERE d.store_id = s.id
) inbox
WHERE %(store)s::bigint IS NULL OR s.id = %(store)s
ORDER BY s.id
"""


async def overview(connection: Connection, now: datetime, store_id: int | None = None) -> list[StoreOverview]:
    """All stores with their figures, oldest first, or one of them."""
    cursor = await connection.execute(_OVERVIEW, {"store": store_id, "now": now})
    return [StoreOverview(**row) for row in await cursor.fetchall()]
