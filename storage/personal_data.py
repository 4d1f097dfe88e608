"""All that is held about one person in one store, for whoever asks what that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage.database import Connection

_MEMBERS = """SELECT DISTINCT x.id FROM store_customers sc JOIN members m ON m.id = sc.member_id
    JOIN members x ON coalesce(x.merged_into, x.id) = coalesce(m.merged_into, m.id)
    WHERE sc.store_id = %(store)s AND sc.id = ANY(%(customers)s)"""

# By the name of each part; a code of a coupon for everybody is no less a code that the person was given.
_PARTS: Mapping[str, str] = {
    "customers": """SELECT external_id, has_account, email_given AS email, name, phone, locale, accepts_marketing,
            joined_at, metadata, source_updated_at, deleted_at
        FROM store_customers WHERE store_id = %(store)s AND id = ANY(%(customers)s) ORDER BY id""",
    "members": """SELECT id, email, name, birthday_md, birthday_year, birthday_set_by, birthday_set_at, joined_on,
            joined_set_by, merged_into, created_at
        FROM members WHERE id = ANY(%(members)s) ORDER BY id""",
    "orders": """SELECT external_id, status, status_given, currency, subtotal_minor, tax_minor, shipping_minor,
            discount_minor, total_minor, placed_at, paid_at, cancelled_at, codes
        FROM orders WHERE store_id = %(store)s AND store_customer_id = ANY(%(customers)s) ORDER BY placed_at, id""",
    "refunds": """SELECT r.order_external_id, r.external_id, r.total_minor, r.status, r.refunded_at
        FROM refunds r JOIN orders o ON o.store_id = r.store_id AND o.external_id = r.order_external_id
        WHERE r.store_id = %(store)s AND o.store_customer_id = ANY(%(customers)s) ORDER BY r.id""",
    "points": """SELECT points, reason, key, actor, occurred_at, created_at FROM ledger_entries
        WHERE store_id = %(store)s AND member_id = ANY(%(members)s) ORDER BY id""",
    "rewards": """SELECT r.name AS reward, g.occasion, g.occasion_on, g.valid_until, g.state, g.redeemed_at, c.code,
            c.replaced_at
        FROM grants g JOIN rewards r ON r.id = g.reward_id
        LEFT JOIN promotion_codes c ON c.store_id = g.store_id AND c.grant_id = g.id
        WHERE g.store_id = %(store)s AND g.member_id = ANY(%(members)s) ORDER BY g.id, c.attempt""",
    "coupons": """SELECT external_id, code, title FROM coupons WHERE store_id = %(store)s AND (
            customer_external_ids && (SELECT array_agg(external_id) FROM store_customers
                                      WHERE store_id = %(store)s AND id = ANY(%(customers)s))
            OR EXISTS (SELECT FROM unnest(emails) AS e WHERE lower(e) IN (
                SELECT email FROM store_customers WHERE store_id = %(store)s AND id = ANY(%(customers)s))))
        ORDER BY id""",
}


async def held(
    connection: Connection, store_id: int, customer_ids: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """The rows of each part, as JSON can hold them but for times and dates."""
    values: dict[str, object] = {"store": store_id, "customers": list(customer_ids)}
    found = await (await connection.execute(_MEMBERS, values)).fetchall()
    values["members"] = [row["id"] for row in found]
    return {
        part: [dict(row) for row in await (await connection.execute(query, values)).fetchall()]
        for part, query in _PARTS.items()
    }
