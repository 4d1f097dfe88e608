"""Members as lists and profiles show them, and the dates that a merchant sets by hand.

A person counts with everybody who was merged into them: their customers, entries and balances are taken together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

from rewards.errors import NotFoundError
from rewards.records import Birthday
from storage.database import Connection


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One person. `birthday_year` is None where nobody told it."""

    id: int
    program_id: int
    home_store_id: int
    name: str | None
    email: str | None
    has_account: bool
    birthday_md: int | None
    birthday_year: int | None
    birthday_set_by: str | None
    joined_on: date | None
    joined_set_by: str | None
    balance: int


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """One ledger entry of a person, with the rule that it was made by."""

    id: int
    member_id: int
    store_id: int
    key: str
    round: int
    points: int
    reason: str
    reverses_id: int | None
    rule_version_id: int | None
    rule_kind: str | None
    rule_version: int | None
    run_id: int | None
    actor: str
    occurred_at: datetime
    created_at: datetime


_SELECT = """SELECT m.id, m.program_id, m.home_store_id, m.name, m.email, m.has_account, m.birthday_md,
    m.birthday_year, m.birthday_set_by, m.joined_on, m.joined_set_by,
    m.balance + coalesce((SELECT sum(g.balance) FROM members g WHERE g.merged_into = m.id), 0)::bigint AS balance
    FROM members m"""

_IN_STORE = """m.program_id = (SELECT s.program_id FROM stores s WHERE s.id = %(store)s) AND m.merged_into IS NULL
    AND m.id IN (SELECT coalesce(g.merged_into, g.id) FROM store_customers sc JOIN members g ON g.id = sc.member_id
                 WHERE sc.store_id = %(store)s)
    AND (%(search)s::text IS NULL OR position(lower(%(search)s) IN lower(coalesce(m.email, ''))) > 0
         OR position(lower(%(search)s) IN lower(coalesce(m.name, ''))) > 0
         OR m.id IN (SELECT coalesce(g.merged_into, g.id) FROM store_customers sc JOIN members g ON g.id = sc.member_id
                     WHERE sc.store_id = %(store)s
                         AND position(%(digits)s IN regexp_replace(sc.phone, '[^0-9]', '', 'g')) > 0))"""

_PHONE = re.compile(r"[+()0-9 ./-]+")
_FEWEST_DIGITS = 4


def _values(store_id: int, search: str | None) -> dict[str, object]:
    """The values of `_IN_STORE`. What could be a phone number is looked for without the zeros that it has at home only."""
    digits = None
    if search is not None and _PHONE.fullmatch(search):
        digits = re.sub(r"[^0-9]", "", search).lstrip("0")
    has_enough = digits is not None and len(digits) >= _FEWEST_DIGITS
    return {"store": store_id, "search": search, "digits": digits if has_enough else None}


async def of_store(
    connection: Connection, store_id: int, *, search: str | None = None, limit: int | None = None
) -> list[MemberRow]:
    """The people with a customer record in the store, oldest first.

    `search` is a part of the name or e-mail, or of a phone number, however it is written.
    """
    cursor = await connection.execute(
        f"{_SELECT} WHERE {_IN_STORE} ORDER BY m.id LIMIT %(limit)s",
        _values(store_id, search) | {"limit": limit},
    )
    return [MemberRow(**row) for row in await cursor.fetchall()]


async def count_of_store(connection: Connection, store_id: int, *, search: str | None = None) -> int:
    """How many people `of_store` gives without a limit."""
    cursor = await connection.execute(
        f"SELECT count(*) AS people FROM members m WHERE {_IN_STORE}", _values(store_id, search)
    )
    found = await cursor.fetchone()
    assert found is not None
    return int(found["people"])


async def person(connection: Connection, member_id: int) -> MemberRow:
    """The person whom a member is, or was merged into. Raises NotFoundError."""
    cursor = await connection.execute(
        f"{_SELECT} WHERE m.id = (SELECT coalesce(x.merged_into, x.id) FROM members x WHERE x.id = %s)",
        (member_id,),
    )
    found = await cursor.fetchone()
    if found is None:
        raise NotFoundError(f"There is no member {member_id}; `perennial members STORE` lists them.")
    return MemberRow(**found)


async def activity(connection: Connection, program_id: int, member_id: int) -> list[ActivityRow]:
    """All entries of a person, in the order in which they were appended."""
    cursor = await connection.execute(
        """SELECT e.id, e.member_id, e.store_id, e.key, e.round, e.points, e.reason, e.reverses_id,
               e.rule_version_id, w.kind AS rule_kind, w.version AS rule_version, e.run_id, e.actor, e.occurred_at,
               e.created_at
           FROM ledger_entries e LEFT JOIN ways_to_earn w ON w.id = e.rule_version_id
           WHERE e.program_id = %(program)s AND e.member_id = ANY(
               SELECT x.id FROM members x WHERE %(member)s IN (x.id, x.merged_into))
           ORDER BY e.id""",
        {"program": program_id, "member": member_id},
    )
    return [ActivityRow(**row) for row in await cursor.fetchall()]


async def set_dates(
    connection: Connection,
    member_id: int,
    *,
    birthday: Birthday | None,
    joined_on: date | None,
    now: datetime,
) -> None:
    """Sets what is given by the merchant's hand: from now on the store's word does not change it."""
    if birthday is not None:
        await connection.execute(
            """UPDATE members SET birthday_md = %s, birthday_year = %s, birthday_set_by = 'merchant',
                   birthday_set_at = %s, dates_changed_at = %s WHERE id = %s""",
            (birthday.md, birthday.year, now, now, member_id),
        )
    if joined_on is not None:
        await connection.execute(
            """UPDATE members SET joined_on = %s, joined_md = %s, joined_set_by = 'merchant', dates_changed_at = %s
               WHERE id = %s""",
            (joined_on, joined_on.month * 100 + joined_on.day, now, member_id),
        )
