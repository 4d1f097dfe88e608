"""`perennial codes` and `coupons`: what members were given, what the store holds, and whether the two agree."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import click

from app import output
from app.commands.base import DefaultGroup, json_option, store_argument, with_services
from app.commands.reward_terms import gives
from app.commands.stores import active_store, show_differences
from rewards.records import Benefit, BenefitKind
from storage import grant_lists, stores
from storage.grant_lists import CouponRow
from sync.revoke import revoke_grant
from sync.services import Services
from sync.verify import verify_codes

SHOWN = 50
STATES = "decided pushed notified redeemed returned delivered expired revoked failed".split()
limit_option = click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"At most so many, newest first. [default: {SHOWN}; with --json all]",
)


@click.group(cls=DefaultGroup, default="list", short_help="List the codes that members were given.")
def codes() -> None:
    """The codes that members of a store were given: `codes STORE`, `codes revoke GRANT`."""


@codes.command("list")
@store_argument
@click.option("--state", type=click.Choice(STATES), help="Only codes in this state.")
@limit_option
@json_option
@with_services
async def codes_list(
    services: Services, store_id: int, state: str | None, limit: int | None, as_json: bool
) -> None:
    """List the codes that members of a store were given, and what became of them."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        counts = await grant_lists.states_of(connection, store_id)
        found = await grant_lists.grants_of(
            connection, store_id, state=state, limit=limit if as_json or limit else SHOWN
        )
    if as_json:
        output.document({"store": store_id, "states": counts, "codes": [asdict(grant) for grant in found]})
        return
    rows = [
        (
            str(grant.id),
            str(grant.member_id),
            grant.member_name or grant.member_email,
            grant.reward_name,
            grant.occasion_on,
            grant.code or "store credit",
            grant.state,
            output.when(grant.valid_until, store.time_zone),
            _remark(grant.redeemed_order, grant.state_reason, grant.difference),
        )
        for grant in found
    ]
    columns = [">Grant", ">Member", "Name", "Reward", "Day", "Code", "State", "Valid until", "Remark"]
    output.table(columns, rows)
    if not rows:
        output.say("No codes yet: perennial occasions run" if not counts else "No codes in this state.")
        return
    said = ", ".join(f"{output.number(grants)} {name}" for name, grants in counts.items())
    output.say(f"\nIn all: {said}. Times are those of {store.name} ({store.time_zone}).")


def _remark(order: str | None, reason: str | None, difference: str | None) -> str:
    if order is not None:
        return f"used by order {order}"
    return reason or difference or ""


@codes.command("revoke")
@click.argument("grant_id", metavar="GRANT", type=int)
@json_option
@with_services
async def codes_revoke(services: Services, grant_id: int, as_json: bool) -> None:
    """Take back what a member was given: its code is good no more, here and in the store.

    Of store credit and gift cards what is not spent yet is taken back.
    """
    revoked = await revoke_grant(services, grant_id, actor="merchant")
    given = revoked.given
    if as_json:
        document = {"grant": grant_id, "code": given.code.code, "state": "revoked"}
        output.document(document | ({"outcome": revoked.outcome} if revoked.outcome else {}))
        return
    output.say(f"Grant {grant_id} is taken back{f': {revoked.outcome}' if revoked.outcome else ''}.")
    if given.is_shared:
        output.say(
            f"The coupon {given.code.code} is the store's own and for everybody: it goes on working there."
        )


@click.group(cls=DefaultGroup, default="list", short_help="Show a store's coupons, and check ours.")
def coupons() -> None:
    """Show the coupons that a store holds, and check ours: `coupons STORE`, `coupons verify STORE`."""


@coupons.command("list")
@store_argument
@limit_option
@json_option
@with_services
async def coupons_list(services: Services, store_id: int, limit: int | None, as_json: bool) -> None:
    """List a store's coupons as they were last seen."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        found = await grant_lists.coupons_of(connection, store_id, limit if as_json or limit else SHOWN)
    if as_json:
        output.document({"store": store_id, "coupons": [asdict(coupon) for coupon in found]})
        return
    rows = [
        (
            coupon.code or coupon.external_id,
            coupon.title,
            _gives(coupon, store.currency),
            _state(coupon, services.clock()),
            output.when(coupon.ends_at, store.time_zone),
            _used(coupon),
            "ours" if coupon.is_ours else "",
            output.when(coupon.verified_at, store.time_zone),
        )
        for coupon in found
    ]
    output.table(["Code", "Title", "Gives", "State", "Ends", "Used", "Whose", "Last seen"], rows)
    if not rows:
        output.say(f"No coupons are known: perennial sync {store_id} reads them.")


def _gives(coupon: CouponRow, currency: str) -> str:
    return gives(
        Benefit(
            BenefitKind(coupon.kind),
            basis_points=coupon.basis_points,
            amount_minor=coupon.amount_minor,
            currency=coupon.currency or currency,
            minimum_minor=coupon.minimum_minor,
        )
    )


def _state(coupon: CouponRow, now: datetime) -> str:
    """Stores keep coupons that ended as active ones."""
    if not coupon.is_active:
        return "off"
    return "ended" if coupon.ends_at is not None and coupon.ends_at < now else "good"


def _used(coupon: CouponRow) -> str:
    used = "" if coupon.used_count is None else output.number(coupon.used_count)
    return used if coupon.usage_limit is None else f"{used or 0} of {output.number(coupon.usage_limit)}"


@coupons.command("verify")
@store_argument
@click.option("--repair", is_flag=True, help="Put right what can be.")
@json_option
@with_services
async def coupons_verify(services: Services, store_id: int, repair: bool, as_json: bool) -> None:
    """Look up every usable code in the store: is it there, with the right value, dates and owner?"""
    store = await active_store(services, store_id)
    what = f"{store.name}: codes"
    with output.progress("looked up") as advance:
        report = await verify_codes(
            services, store_id, repair=repair, progress=lambda more: advance(what, more)
        )
    differences = [asdict(found) for found in report.differences]
    if as_json:
        output.document(
            {
                "store": store_id,
                "checked": report.checked,
                "repaired": report.repaired,
                "differences": differences,
            }
        )
        return
    show_differences(store_id, report.checked, differences)
