"""Where a chunk of incoming records waits inside its transaction for the set-based SQL that merges it.

Temporary tables of the connection, filled by COPY and emptied by the commit: one statement then handles thousands of
rows, and a row costs the client a few microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage import plans
from storage.database import Connection

_TABLES = {
    "incoming_people": """external_id text, is_full boolean, has_account boolean, email_given text, email text,
        name text, locale text, accepts_marketing boolean, joined_at timestamptz, joined_on date, joined_md smallint,
        birthday_md smallint, birthday_year smallint, source_updated_at timestamptz, metadata jsonb""",
    "incoming_orders": """external_id text, person text, status text, status_given text, currency text,
        subtotal_minor bigint, tax_minor bigint, shipping_minor bigint, discount_minor bigint, total_minor bigint,
        placed_at timestamptz, paid_at timestamptz, cancelled_at timestamptz, is_test boolean, codes text[],
        source_updated_at timestamptz""",
    "incoming_refunds": """order_external_id text, external_id text, total_minor bigint, subtotal_minor bigint,
        status text, refunded_at timestamptz""",
    "incoming_coupons": """external_id text, code text, title text, kind text, basis_points integer,
        amount_minor bigint, currency text, minimum_minor bigint, is_active boolean, starts_at timestamptz,
        ends_at timestamptz, usage_limit bigint, used_count bigint, customer_external_ids text[], emails text[],
        parent_external_id text, source_updated_at timestamptz""",
}


async def prepare(connection: Connection) -> None:
    """Makes the connection's staging tables if it has none yet, and empties them if this transaction used them."""
    await plans.by_key(connection)
    cursor = await connection.execute("SELECT to_regclass('pg_temp.incoming_coupons') IS NOT NULL AS there")
    found = await cursor.fetchone()
    if not found or not found["there"]:
        for name, columns in _TABLES.items():
            await connection.execute(f"CREATE TEMP TABLE {name} ({columns}) ON COMMIT DELETE ROWS")


async def empty(connection: Connection, *tables: str) -> None:
    """Takes staged rows out again within the transaction."""
    await connection.execute(f"TRUNCATE {', '.join(tables)}")


async def fill(connection: Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Copies rows into a staging table, columns in the table's order."""
    async with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            await copy.write_row(row)
