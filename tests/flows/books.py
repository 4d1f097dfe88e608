"""What the app's books say at the end, in words that do not depend on the order in which things happened."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from storage.database import Connection

_TAKEN = ("refund", "correction", "undo")


@dataclass(frozen=True)
class Books:
    """One store's figures. Facts are orders by their id in the store, and sign-ups by e-mail."""

    awards: list[tuple[str, str, int, int]]  # e-mail, fact, round, points
    net: dict[str, int]  # points by fact, after everything that was taken back
    balances: dict[str, int]
    grants: list[tuple[str, str, str]]  # e-mail, occasion, state
    codes: int
    orders: int


async def read_books(connection: Connection, store_id: int) -> Books:
    """The figures of a store that is alone in its program. Raises AssertionError where they contradict themselves."""
    members = await _all(
        connection,
        """SELECT m.id, coalesce(m.email, '') AS email, m.balance,
                  (SELECT coalesce(sum(points), 0) FROM ledger_entries WHERE member_id = m.id)::bigint AS entries
           FROM members m JOIN stores s USING (program_id) WHERE s.id = %s AND m.merged_into IS NULL""",
        store_id,
    )
    for member in members:
        assert member["balance"] == member["entries"], f"member {member['id']}"
    orders = {
        row["external_id"]
        for row in await _all(connection, "SELECT external_id FROM orders WHERE store_id = %s", store_id)
    }
    entries = await _all(
        connection,
        """SELECT l.id, l.key, l.round, l.points, l.reason, l.reverses_id, coalesce(m.email, '') AS email FROM ledger_entries l
           JOIN members m ON m.id = l.member_id WHERE l.store_id = %s ORDER BY l.id""",
        store_id,
    )
    by_id = {entry["id"]: entry for entry in entries}
    awards, net = [], defaultdict[str, int](int)
    for entry in entries:
        fact = _fact(entry, by_id, orders)
        net[fact] += entry["points"]
        if entry["reason"] not in _TAKEN:
            awards.append((entry["email"], fact, entry["round"], entry["points"]))
    grants = await _all(
        connection,
        """SELECT coalesce(m.email, '') AS email, g.occasion, g.state, c.id AS code FROM grants g JOIN members m ON m.id = g.member_id
           LEFT JOIN promotion_codes c ON c.grant_id = g.id WHERE g.store_id = %s""",
        store_id,
    )
    return Books(
        awards=sorted(awards),
        net={fact: points for fact, points in net.items() if points},
        balances={member["email"]: member["balance"] for member in members if member["balance"]},
        grants=sorted((grant["email"], grant["occasion"], grant["state"]) for grant in grants),
        codes=sum(grant["code"] is not None for grant in grants),
        orders=len(orders),
    )


def _fact(entry: dict[str, Any], by_id: dict[int, dict[str, Any]], orders: set[str]) -> str:
    """The order or sign-up that an entry is about."""
    if entry["key"].startswith("reverses:"):
        return _fact(by_id[entry["reverses_id"]], by_id, orders)
    kind, _, name = str(entry["key"]).split(":", 2)
    if kind == "sign_up":
        return f"sign-up of {entry['email']}"
    parts = name.split(":")
    found = (":".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(order for order in found if order in orders)


async def _all(connection: Connection, query: str, *values: object) -> list[dict[str, Any]]:
    return await (await connection.execute(query, values)).fetchall()
