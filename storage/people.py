"""Store customers and the members behind them, a staged chunk at a time.

`incoming_people` holds full records, and stubs of guests: only an external id that is made from their e-mail, so that
everybody who orders has a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storage.database import Connection

# Look-ups from staged rows are subqueries that the planner cannot turn around (see `storage.plans`).
_KNOWN = "SELECT * FROM store_customers WHERE store_id = %(store)s AND external_id = p.external_id OFFSET 0"
_UNKNOWN = """(SELECT sc.id FROM store_customers sc
    WHERE sc.store_id = %(store)s AND sc.external_id = p.external_id) IS NULL"""
_BY_EMAIL = """SELECT m.id FROM members m
    WHERE m.program_id = %(program)s AND m.match_store_id = %(scope)s AND m.email = {}.email"""

_MEMBER_COLUMNS = """id, program_id, match_store_id, email, name, has_account, home_store_id, joined_on, joined_md,
    joined_set_by, birthday_md, birthday_year, birthday_set_by, birthday_set_at, dates_changed_at, balance, created_at"""
_NEXT_ID = "nextval(pg_get_serial_sequence('members', 'id'))"

# Several new customers may be one new person.
_ADD_MEMBERS = f"""
INSERT INTO members ({_MEMBER_COLUMNS})
SELECT {_NEXT_ID}, %(program)s, %(scope)s, p.email, min(p.name), bool_or(p.has_account), %(store)s,
    min(p.joined_on) FILTER (WHERE p.has_account),
    (array_agg(p.joined_md ORDER BY p.joined_on) FILTER (WHERE p.has_account))[1],
    CASE WHEN bool_or(p.has_account) THEN 'store' END,
    (array_agg(p.birthday_md ORDER BY p.external_id) FILTER (WHERE p.birthday_md IS NOT NULL))[1],
    (array_agg(p.birthday_year ORDER BY p.external_id) FILTER (WHERE p.birthday_md IS NOT NULL))[1],
    CASE WHEN max(p.birthday_md) IS NOT NULL THEN 'store' END,
    CASE WHEN max(p.birthday_md) IS NOT NULL THEN %(now)s::timestamptz END,
    CASE WHEN bool_or(p.has_account) OR max(p.birthday_md) IS NOT NULL THEN %(now)s::timestamptz END,
    0, %(now)s
FROM incoming_people p
WHERE p.email IS NOT NULL AND {_UNKNOWN} AND ({_BY_EMAIL.format("p")}) IS NULL
GROUP BY p.email ORDER BY p.email
"""

_CUSTOMER_COLUMNS = """program_id, store_id, member_id, external_id, has_account, email_given, email, name, phone,
    locale, accepts_marketing, joined_at, source_updated_at, metadata"""

_ADD_CUSTOMERS = f"""
INSERT INTO store_customers ({_CUSTOMER_COLUMNS})
SELECT %(program)s, %(store)s, ({_BY_EMAIL.format("p")}), p.external_id, p.has_account, p.email_given, p.email,
    p.name, p.phone, p.locale, p.accepts_marketing, p.joined_at, p.source_updated_at, p.metadata
FROM incoming_people p WHERE p.email IS NOT NULL AND {_UNKNOWN} ORDER BY p.external_id
"""

# Without an e-mail everybody is a person of their own, until one turns up.
_ADD_NAMELESS = f"""
WITH fresh AS MATERIALIZED (
    SELECT p.*, {_NEXT_ID} AS member_id FROM incoming_people p WHERE p.email IS NULL AND {_UNKNOWN}
), made AS (
    INSERT INTO members ({_MEMBER_COLUMNS})
    SELECT member_id, %(program)s, %(scope)s, NULL, name, has_account, %(store)s,
        CASE WHEN has_account THEN joined_on END, CASE WHEN has_account THEN joined_md END,
        CASE WHEN has_account THEN 'store' END, birthday_md, birthday_year,
        CASE WHEN birthday_md IS NOT NULL THEN 'store' END,
        CASE WHEN birthday_md IS NOT NULL THEN %(now)s::timestamptz END,
        CASE WHEN has_account OR birthday_md IS NOT NULL THEN %(now)s::timestamptz END, 0, %(now)s
    FROM fresh
)
INSERT INTO store_customers ({_CUSTOMER_COLUMNS})
SELECT %(program)s, %(store)s, member_id, external_id, has_account, email_given, email, name, phone,
    locale, accepts_marketing, joined_at, source_updated_at, metadata
FROM fresh ORDER BY external_id
"""

# Who ordered under a customer's record that was not told of yet: known by its id alone.
_ADD_UNTOLD = f"""
WITH fresh AS MATERIALIZED (
    SELECT p.external_id, {_NEXT_ID} AS member_id
    FROM (SELECT DISTINCT person AS external_id FROM incoming_orders WHERE person IS NOT NULL) p WHERE {_UNKNOWN}
), made AS (
    INSERT INTO members (id, program_id, match_store_id, has_account, home_store_id, balance, created_at)
    SELECT member_id, %(program)s, %(scope)s, false, %(store)s, 0, %(now)s FROM fresh
)
INSERT INTO store_customers (program_id, store_id, member_id, external_id, has_account, metadata)
SELECT %(program)s, %(store)s, member_id, external_id, false, '{{}}' FROM fresh ORDER BY external_id
"""

# A later version wins; where the platform gives none, the later arrival: then it was asked for just now, and what was told
# before keeps its version. The earliest joining time is kept.
_UPDATE_KNOWN = f"""
UPDATE store_customers sc
SET has_account = p.has_account, email_given = coalesce(p.email_given, sc.email_given),
    email = coalesce(p.email, sc.email), name = coalesce(p.name, sc.name),
    phone = coalesce(p.phone, sc.phone), locale = coalesce(p.locale, sc.locale),
    accepts_marketing = coalesce(p.accepts_marketing, sc.accepts_marketing),
    joined_at = least(sc.joined_at, p.joined_at),
    source_updated_at = coalesce(p.source_updated_at, sc.source_updated_at), metadata = p.metadata,
    deleted_at = NULL
FROM incoming_people p CROSS JOIN LATERAL ({_KNOWN}) known
WHERE sc.id = known.id AND p.is_full
    AND (sc.source_updated_at IS NULL OR p.source_updated_at IS NULL
         OR p.source_updated_at >= sc.source_updated_at)
    AND (sc.has_account, sc.email_given, sc.email, sc.name, sc.phone, sc.locale, sc.accepts_marketing, sc.joined_at,
         sc.source_updated_at, sc.metadata, sc.deleted_at)
        IS DISTINCT FROM
        (p.has_account, coalesce(p.email_given, sc.email_given), coalesce(p.email, sc.email),
         coalesce(p.name, sc.name), coalesce(p.phone, sc.phone), coalesce(p.locale, sc.locale),
         coalesce(p.accepts_marketing, sc.accepts_marketing), least(sc.joined_at, p.joined_at),
         coalesce(p.source_updated_at, sc.source_updated_at), p.metadata, NULL::timestamptz)
"""

# What the merchant set by hand or by a file stays; otherwise the store's word is kept up to date.
_UPDATE_MEMBERS = f"""
WITH told AS (
    SELECT coalesce(m.merged_into, m.id) AS id, bool_or(p.has_account) AS has_account, min(p.name) AS name,
        min(p.joined_on) FILTER (WHERE p.has_account) AS joined_on,
        (array_agg(p.joined_md ORDER BY p.joined_on) FILTER (WHERE p.has_account))[1] AS joined_md,
        (array_agg(p.birthday_md ORDER BY p.external_id) FILTER (WHERE p.birthday_md IS NOT NULL))[1] AS birthday_md,
        (array_agg(p.birthday_year ORDER BY p.external_id)
            FILTER (WHERE p.birthday_md IS NOT NULL))[1] AS birthday_year
    FROM incoming_people p CROSS JOIN LATERAL ({_KNOWN}) sc
    CROSS JOIN LATERAL (SELECT id, merged_into FROM members WHERE id = sc.member_id OFFSET 0) m
    WHERE p.is_full AND (p.source_updated_at IS NULL OR sc.source_updated_at = p.source_updated_at)
    GROUP BY 1
), wanted AS (
    SELECT t.id, m.has_account OR t.has_account AS has_account, coalesce(m.name, t.name) AS name, j.earlier,
        CASE WHEN j.earlier THEN t.joined_on ELSE m.joined_on END AS joined_on,
        CASE WHEN j.earlier THEN t.joined_md ELSE m.joined_md END AS joined_md,
        b.other, CASE WHEN b.other THEN t.birthday_md ELSE m.birthday_md END AS birthday_md,
        CASE WHEN b.other THEN t.birthday_year ELSE m.birthday_year END AS birthday_year
    FROM told t CROSS JOIN LATERAL (SELECT * FROM members WHERE id = t.id OFFSET 0) m
    CROSS JOIN LATERAL (SELECT coalesce(t.joined_on < m.joined_on, t.joined_on IS NOT NULL)
        AND coalesce(m.joined_set_by, 'store') = 'store' AS earlier) j
    CROSS JOIN LATERAL (SELECT t.birthday_md IS NOT NULL AND coalesce(m.birthday_set_by, 'store') = 'store'
        AND (t.birthday_md, t.birthday_year) IS DISTINCT FROM (m.birthday_md, m.birthday_year) AS other) b
)
UPDATE members m
SET has_account = w.has_account, name = w.name, joined_on = w.joined_on, joined_md = w.joined_md,
    joined_set_by = CASE WHEN w.earlier THEN 'store' ELSE m.joined_set_by END,
    birthday_md = w.birthday_md, birthday_year = w.birthday_year,
    birthday_set_by = CASE WHEN w.other THEN 'store' ELSE m.birthday_set_by END,
    birthday_set_at = CASE WHEN w.other THEN %(now)s ELSE m.birthday_set_at END,
    dates_changed_at = CASE WHEN w.earlier OR w.other THEN %(now)s ELSE m.dates_changed_at END
FROM wanted w
WHERE m.id = w.id AND (w.earlier OR w.other OR (m.has_account, m.name) IS DISTINCT FROM (w.has_account, w.name))
"""

_OTHER_EMAIL = f"""
SELECT DISTINCT root.id AS member_id, sc.email
FROM incoming_people p CROSS JOIN LATERAL ({_KNOWN}) sc
CROSS JOIN LATERAL (SELECT id, merged_into FROM members WHERE id = sc.member_id OFFSET 0) m
CROSS JOIN LATERAL (SELECT id, email FROM members WHERE id = coalesce(m.merged_into, m.id) OFFSET 0) root
LEFT JOIN LATERAL (SELECT coalesce(o.merged_into, o.id) AS root_id FROM members o
    WHERE o.id = ({_BY_EMAIL.format("sc")}) OFFSET 0) owner ON true
WHERE p.is_full AND sc.email IS NOT NULL AND root.email IS DISTINCT FROM sc.email
    AND owner.root_id IS DISTINCT FROM root.id
ORDER BY root.id, sc.email
"""


async def merge_people(
    connection: Connection, *, program_id: int, store_id: int, scope: int, now: datetime
) -> None:
    """Brings store customers and members up to date with `incoming_people`.

    `scope` is the store within which e-mails are matched, or 0 for the whole program.
    """
    values = {"program": program_id, "store": store_id, "scope": scope, "now": now}
    # Who is known first: an address that one of them gave up may be a new customer's.
    await connection.execute(_UPDATE_KNOWN, values)
    cursor = await connection.execute(_OTHER_EMAIL, values)
    for row in await cursor.fetchall():
        await _settle_email(connection, row, values)
    await _add_new(connection, values)
    await connection.execute(_ADD_NAMELESS, values)
    await connection.execute(_UPDATE_MEMBERS, values)


async def add_untold(
    connection: Connection, *, program_id: int, store_id: int, scope: int, now: datetime
) -> None:
    """Makes a store customer for everybody in `incoming_orders` who has none.

    Nothing but the id: an order's e-mail may be another than the account's, and whom it belongs to would then hang on
    whether the order or the customer was told of first.
    """
    values = {"program": program_id, "store": store_id, "scope": scope, "now": now}
    await connection.execute(_ADD_UNTOLD, values)


async def add_stubs(
    connection: Connection, *, program_id: int, store_id: int, scope: int, now: datetime
) -> None:
    """As `merge_people`, for chunks that hold only guests' stubs: nothing known changes, and all have an e-mail."""
    await _add_new(connection, {"program": program_id, "store": store_id, "scope": scope, "now": now})


async def _add_new(connection: Connection, values: dict[str, Any]) -> None:
    for statement in (_ADD_MEMBERS, _ADD_CUSTOMERS):
        await connection.execute(statement, values)


async def mark_deleted(
    connection: Connection, store_id: int, deleted: Mapping[str, datetime | None], now: datetime
) -> None:
    """Notes that the store removed these customers; members and points stay.

    Where the platform says when, that is a version: what is older comes too late, and what is later is not undone.
    """
    await connection.execute(
        """UPDATE store_customers sc
           SET deleted_at = %s, source_updated_at = greatest(sc.source_updated_at, d.at)
           FROM unnest(%s::text[], %s::timestamptz[]) AS d (external_id, at)
           WHERE sc.store_id = %s AND sc.external_id = d.external_id AND sc.deleted_at IS NULL
               AND coalesce(sc.source_updated_at <= d.at, true)""",
        (now, list(deleted), list(deleted.values()), store_id),
    )


async def merge_customers(
    connection: Connection, *, program_id: int, store_id: int, kept: str, gone: str, now: datetime
) -> None:
    """Makes the members behind two of the store's customers one, and notes that one of the records is gone.

    Nothing happens while either of them is unknown: what was never told of holds nothing to take along.
    """
    cursor = await connection.execute(
        """SELECT member_id FROM store_customers WHERE store_id = %s AND external_id = ANY(%s)""",
        (store_id, [kept, gone]),
    )
    found = [row["member_id"] for row in await cursor.fetchall()]
    if len(found) == 2:
        await merge_members(connection, program_id, found[0], found[1], now)
    await mark_deleted(connection, store_id, {gone: None}, now)


async def members_with_account(connection: Connection, store_id: int, external_ids: list[str]) -> list[int]:
    """The members behind those of these customers that have an account."""
    cursor = await connection.execute(
        """SELECT DISTINCT coalesce(m.merged_into, m.id) AS id FROM store_customers sc
           JOIN members m ON m.id = sc.member_id
           WHERE sc.store_id = %s AND sc.external_id = ANY(%s) AND sc.has_account""",
        (store_id, external_ids),
    )
    return [row["id"] for row in await cursor.fetchall()]


async def _settle_email(connection: Connection, row: dict[str, Any], values: dict[str, Any]) -> None:
    """A customer's e-mail is not their member's: the member takes it over, or two members turn out to be one."""
    cursor = await connection.execute(
        """SELECT id FROM members WHERE program_id = %(program)s AND match_store_id = %(scope)s AND email = %(email)s""",
        {**values, "email": row["email"]},
    )
    owner = await cursor.fetchone()
    if owner is not None and not await _gave_up(connection, owner["id"], row["email"]):
        await merge_members(connection, values["program"], row["member_id"], owner["id"], values["now"])
        return
    # A member known by one customer follows that customer's e-mail; one with several keeps the first.
    await connection.execute(
        """UPDATE members m SET email = %(email)s
           WHERE m.id = %(member)s AND (m.email IS NULL OR 1 = (
               SELECT count(*) FROM store_customers sc JOIN members of ON of.id = sc.member_id
               WHERE coalesce(of.merged_into, of.id) = m.id))""",
        {"email": row["email"], "member": row["member_id"]},
    )


async def _gave_up(connection: Connection, owner_id: int, email: str) -> bool:
    """Takes an e-mail from a member none of whose customers has it any more; False when somebody has.

    A chunk may tell of who takes an address before it tells of who gave it up.
    """
    cursor = await connection.execute(
        """UPDATE members o SET email = NULL
           WHERE o.id = %(owner)s AND o.merged_into IS NULL AND NOT EXISTS (
               SELECT FROM (SELECT o.id UNION ALL SELECT id FROM members WHERE merged_into = o.id) g
               CROSS JOIN LATERAL (SELECT email FROM store_customers WHERE member_id = g.id OFFSET 0) sc
               WHERE sc.email = %(email)s)""",
        {"owner": owner_id, "email": email},
    )
    return cursor.rowcount > 0


async def merge_members(connection: Connection, program_id: int, one: int, other: int, now: datetime) -> int:
    """Makes two members one; the one with an e-mail, then an account, then the older stays. The id of the one that stays.

    Ledger entries, grants and store customers keep pointing at the member they were made for, and each member's balance
    stays the sum of their own entries: a merge is only `merged_into`, and can be taken apart.
    """
    cursor = await connection.execute(
        """SELECT id FROM members WHERE program_id = %(program)s AND merged_into IS NULL AND id IN (
               SELECT coalesce(merged_into, id) FROM members WHERE program_id = %(program)s AND id = ANY(%(ids)s))
           ORDER BY email IS NULL, has_account DESC, id FOR UPDATE""",
        {"program": program_id, "ids": [one, other]},
    )
    found = [row["id"] for row in await cursor.fetchall()]
    if len(found) < 2:  # merged by an earlier row of the same chunk
        return found[0] if found else one
    stays, goes = found
    await connection.execute(
        "UPDATE members SET merged_into = %(stays)s WHERE program_id = %(program)s AND %(goes)s IN (id, merged_into)",
        {"stays": stays, "goes": goes, "program": program_id},
    )
    await connection.execute(
        """UPDATE members s SET has_account = s.has_account OR g.has_account, name = coalesce(s.name, g.name),
               joined_on = CASE WHEN t.joined THEN g.joined_on ELSE s.joined_on END,
               joined_md = CASE WHEN t.joined THEN g.joined_md ELSE s.joined_md END,
               joined_set_by = CASE WHEN t.joined THEN g.joined_set_by ELSE s.joined_set_by END,
               birthday_md = CASE WHEN t.born THEN g.birthday_md ELSE s.birthday_md END,
               birthday_year = CASE WHEN t.born THEN g.birthday_year ELSE s.birthday_year END,
               birthday_set_by = CASE WHEN t.born THEN g.birthday_set_by ELSE s.birthday_set_by END,
               birthday_set_at = CASE WHEN t.born THEN g.birthday_set_at ELSE s.birthday_set_at END,
               dates_changed_at = %(now)s
           FROM members g CROSS JOIN LATERAL (
               -- What was set by hand counts before what the store says; else the earlier joining, the known birthday.
               SELECT m.id, CASE WHEN (coalesce(m.joined_set_by, 'store') = 'store')
                               = (coalesce(g.joined_set_by, 'store') = 'store')
                           THEN coalesce(g.joined_on < m.joined_on, g.joined_on IS NOT NULL)
                           ELSE coalesce(g.joined_set_by, 'store') <> 'store' END AS joined,
                   g.birthday_md IS NOT NULL AND (m.birthday_md IS NULL OR (
                       coalesce(g.birthday_set_by, 'store') <> 'store'
                       AND coalesce(m.birthday_set_by, 'store') = 'store')) AS born
               FROM members m WHERE m.id = %(stays)s) t
           WHERE s.id = t.id AND g.id = %(goes)s""",
        {"stays": stays, "goes": goes, "now": now},
    )
    return int(stays)
