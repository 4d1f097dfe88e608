"""`perennial members` and `activity`: who there is, what they have, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date

import click

from app import output
from app.commands.base import DefaultGroup, json_option, store_argument, with_services
from rewards.errors import AppError
from rewards.occasions import MONTHS, parse_birthday
from rewards.records import Birthday
from storage import members as queries
from storage import stores
from storage.members import ActivityRow, MemberRow
from storage.stores import StoreRow
from sync.birthdays import set_dates
from sync.services import Services

SHOWN = 50
REASONS = {
    "sign_up": "signed up",
    "order": "order",
    "refund": "refund of order",
    "correction": "correction of order",
    "undo": "undone",
}


class BirthdayType(click.ParamType[Birthday]):
    """MM-DD or YYYY-MM-DD, of a day that the calendar has."""

    name = "birthday"

    def convert(
        self, value: str | Birthday, param: click.Parameter | None, ctx: click.Context | None
    ) -> Birthday:
        """The birthday; wrong use if there is no such day."""
        if isinstance(value, Birthday):
            return value
        try:
            return parse_birthday(value)
        except AppError as error:
            self.fail(str(error), param, ctx)


class DayType(click.ParamType[date]):
    """YYYY-MM-DD"""

    name = "day"

    def convert(self, value: str | date, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date; wrong use if it is none."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value) if len(value) == len("2026-06-15") else self._fail(param, ctx)
        except ValueError:
            return self._fail(param, ctx)

    def _fail(self, param: click.Parameter | None, ctx: click.Context | None) -> date:
        self.fail("A date is written YYYY-MM-DD, and is a day of the calendar.", param, ctx)


@click.group(cls=DefaultGroup, default="list", short_help="Show members, and set their dates.")
def members() -> None:
    """Show a store's members, and set their dates by hand: `members STORE`, `members set MEMBER`."""


@members.command("list")
@store_argument
@click.option("--limit", type=click.IntRange(1), help=f"At most so many. [default: {SHOWN}; with --json all]")
@click.option("--search", metavar="TEXT", help="Only those whose name, e-mail or phone number holds this.")
@json_option
@with_services
async def members_list(
    services: Services, store_id: int, limit: int | None, search: str | None, as_json: bool
) -> None:
    """List the customers and guests of a store with their balances."""
    if limit is None and not as_json:
        limit = SHOWN
    async with services.database.transaction() as connection:
        await stores.by_id(connection, store_id)
        total = await queries.count_of_store(connection, store_id, search=search)
        found = await queries.of_store(connection, store_id, search=search, limit=limit)
    if as_json:
        output.document(
            {"store": store_id, "total": total, "members": [document(member) for member in found]}
        )
        return
    rows = [
        (
            str(member.id),
            member.name,
            member.email,
            _kind(member),
            _birthday_text(member),
            member.joined_on,
            member.balance,
        )
        for member in found
    ]
    output.table([">Member", "Name", "E-mail", "Kind", "Birthday", "Joined", ">Balance"], rows)
    if not found:
        output.say("Nobody is found." if search else f"Nobody is known yet: perennial sync {store_id}")
    elif len(found) < total:
        output.say(
            f"\nThe first {output.number(len(found))} of {output.number(total)}; --limit and --search show others."
        )


def document(member: MemberRow) -> dict[str, object]:
    """A member as programs get them; the birthday as it is known, without a year where nobody gave one."""
    return {
        "id": member.id,
        "name": member.name,
        "email": member.email,
        "kind": _kind(member),
        "birthday": _birthday(member),
        "birthday_set_by": member.birthday_set_by,
        "joined_on": member.joined_on,
        "joined_set_by": member.joined_set_by,
        "balance": member.balance,
    }


def _kind(member: MemberRow) -> str:
    return "account" if member.has_account else "guest"


def _birthday(member: MemberRow) -> str | None:
    if member.birthday_md is None:
        return None
    day = f"{member.birthday_md // 100:02}-{member.birthday_md % 100:02}"
    return day if member.birthday_year is None else f"{member.birthday_year}-{day}"


def _birthday_text(member: MemberRow) -> str:
    if member.birthday_md is None:
        return ""
    day = f"{member.birthday_md % 100} {MONTHS[member.birthday_md // 100 - 1]}"
    return day if member.birthday_year is None else f"{day} {member.birthday_year}"


@members.command("set")
@click.argument("member_id", metavar="MEMBER", type=int)
@click.option("--birthday", type=BirthdayType(), metavar="MM-DD|YYYY-MM-DD", help="The year may be left out.")
@click.option("--joined", type=DayType(), metavar="YYYY-MM-DD", help="The joining date.")
@json_option
@with_services
async def members_set(
    services: Services, member_id: int, birthday: Birthday | None, joined: date | None, as_json: bool
) -> None:
    """Set a member's dates by hand. From then on the store's word does not change them."""
    if birthday is None and joined is None:
        raise click.UsageError("Say what to set: --birthday or --joined.")
    done = await set_dates(services, member_id, birthday=birthday, joined=joined, actor="merchant")
    member = done.member
    if as_json:
        output.document(document(member) | {"stores_to_tell": done.store_ids})
        return
    output.say(
        f"Member {member.id}: birthday {_birthday_text(member) or 'unknown'}, joined {member.joined_on or 'unknown'}."
    )
    if done.store_ids:
        output.say("A worker writes the birthday into the store too.")


@click.command(short_help="Show where a member's points came from.")
@click.argument("member_id", metavar="MEMBER", type=int)
@json_option
@with_services
async def activity(services: Services, member_id: int, as_json: bool) -> None:
    """Show where a member's points came from and went, entry by entry.

    Entries of members who turned out to be the same person are taken together.
    """
    async with services.database.transaction() as connection:
        member = await queries.person(connection, member_id)
        store = await stores.by_id(connection, member.home_store_id)
        found = await queries.activity(connection, member.program_id, member.id)
    lines = _lines(found)
    if as_json:
        output.document({"member": document(member), "entries": lines})
    else:
        _show_activity(member, store, lines)


def _lines(found: Sequence[ActivityRow]) -> list[dict[str, object]]:
    """The entries with their order and the balance after each."""
    by_id = {entry.id: entry for entry in found}
    lines, balance = [], 0
    for entry in found:
        balance += entry.points
        line = asdict(entry)
        lines.append(line | {"order": _order(entry, by_id), "balance_after": balance})
    return lines


def _order(entry: ActivityRow, by_id: Mapping[int, ActivityRow]) -> str | None:
    """The store's id of the order that an entry is about; a take-back is about the order of what it takes back."""
    while not entry.key.startswith("order_paid:") and (reversed_entry := by_id.get(entry.reverses_id or 0)):
        entry = reversed_entry
    kind, _, name = entry.key.split(":", 2)
    return name if kind == "order_paid" else None


def _show_activity(member: MemberRow, store: StoreRow, lines: Sequence[Mapping[str, object]]) -> None:
    who = member.name or member.email or f"Member {member.id}"
    output.say(f"{who} ({_kind(member)}), {output.count(member.balance, 'point')}")
    output.say()
    rows = []
    for line in lines:
        rule = f"{line['rule_kind']} v{line['rule_version']}" if line["rule_kind"] else ""
        occurred_at, points = line["occurred_at"], line["points"]
        rows.append(
            (
                output.when(occurred_at, store.time_zone),  # type: ignore[arg-type]
                output.signed(points),  # type: ignore[arg-type]
                REASONS.get(str(line["reason"]), line["reason"]),
                line["order"],
                rule,
                "" if line["run_id"] is None else str(line["run_id"]),
                line["balance_after"],
            )
        )
    output.table(["When", ">Points", "Why", "Order", "Rule", ">Run", ">Balance"], rows)
    output.say(
        f"\nTimes are those of {store.name} ({store.time_zone})." if rows else "No points have moved yet."
    )
