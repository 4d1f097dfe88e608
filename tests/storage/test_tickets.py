"""Tickets: what a browser carries to a platform and back, and for how long it stands for something."""

from __future__ import annotations

from datetime import timedelta

from storage import tickets
from storage.database import Connection, Database
from storage.secrets import SecretBox
from tests.factories import NOON

DATA = {"shop": "s.example"}
LATER = NOON + timedelta(minutes=10)


async def test_a_ticket_is_good_for_its_platform_only_and_once_or_until_it_ends(
    database: Database, secret_box: SecretBox
) -> None:
    async def redeemed(connection: Connection, ticket: str, **changes: object) -> dict[str, str] | None:
        given = {"platform": "acme", "once": False, "now": NOON, **changes}
        platform = str(given.pop("platform"))
        return await tickets.redeem(connection, secret_box, platform, ticket, **given)  # type: ignore[arg-type]

    async with database.transaction() as connection:
        ticket = await tickets.issue(connection, secret_box, "acme", DATA, ends_at=LATER)
        assert await redeemed(connection, ticket, platform="other") is None
        assert await redeemed(connection, ticket + "x") is None
        assert await redeemed(connection, "\ud800") is None
        assert await redeemed(connection, ticket, now=LATER) is None
        assert await redeemed(connection, ticket) == DATA
        assert await redeemed(connection, ticket) == DATA
        assert await redeemed(connection, ticket, once=True) == DATA
        assert await redeemed(connection, ticket) is None


async def test_what_a_ticket_stands_for_can_change_while_it_lasts(
    database: Database, secret_box: SecretBox
) -> None:
    async with database.transaction() as connection:
        ticket = await tickets.issue(connection, secret_box, "acme", DATA, ends_at=LATER)
        other = await tickets.issue(connection, secret_box, "acme", DATA, ends_at=LATER)
        await tickets.amend(connection, secret_box, "acme", ticket, {"store": "S"}, now=NOON)
        await tickets.amend(connection, secret_box, "acme", other, {"store": "S"}, now=LATER)
        now = {"once": False, "now": NOON}
        assert await tickets.redeem(connection, secret_box, "acme", ticket, **now) == {"store": "S"}  # type: ignore[arg-type]
        assert await tickets.redeem(connection, secret_box, "acme", other, **now) == DATA  # type: ignore[arg-type]


async def test_tickets_that_have_ended_are_removed(database: Database, secret_box: SecretBox) -> None:
    async with database.transaction() as connection:
        await tickets.issue(connection, secret_box, "acme", DATA, ends_at=NOON)
        kept = await tickets.issue(connection, secret_box, "acme", DATA, ends_at=LATER)
        await tickets.remove_old(connection, NOON)
        found = await (await connection.execute("SELECT count(*) AS left FROM tickets")).fetchone()
        assert found == {"left": 1}
        assert await tickets.redeem(connection, secret_box, "acme", kept, once=True, now=NOON) == DATA
