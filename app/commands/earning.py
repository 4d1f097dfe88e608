"""`perennial ways`, `earning` and `program`: what is earned by what, and whether webhooks award it."""

from __future__ import annotations

from dataclasses import replace

import click

from app import output
from app.commands.base import DefaultGroup, Group, json_option, store_argument, with_services, wrong_use
from rewards.earning import WayKind, WayToEarn
from rewards.errors import InvalidInputError
from rewards.money import exact_minor_units
from storage import audit, programs, stores
from storage.database import Connection
from storage.programs import ProgramRow, StoredWay
from storage.stores import StoreRow
from sync.services import Services

KIND = click.Choice([kind.value for kind in WayKind])
LABELS = {WayKind.SIGN_UP: "sign up", WayKind.PLACE_ORDER: "place an order"}


@click.group(cls=DefaultGroup, default="list", short_help="Show and set what a sign-up and an order earn.")
def ways() -> None:
    """Show and set the ways to earn: `ways STORE`, `ways set STORE place_order --points 5 --per 1.00`."""


@ways.command("list")
@store_argument
@json_option
@with_services
async def ways_list(services: Services, store_id: int, as_json: bool) -> None:
    """Show what a sign-up and an order earn in a store's program."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        program = await programs.by_id(connection, store.program_id)
        found = await programs.ways(connection, store.program_id)
    if as_json:
        output.document({"store": store_id, **_earning_document(store, program), "ways": _documents(found)})
        return
    _show_ways(program, found)
    output.say(f"\n{_earning_text(store, program)}")


@ways.command("set")
@store_argument
@click.argument("kind", metavar="sign_up|place_order", type=KIND)
@click.option("--points", type=click.IntRange(0), help="Whole points.")
@click.option("--per", metavar="AMOUNT", help="For each so much of the order's subtotal, e.g. 1.00.")
@click.option("--fixed", is_flag=True, help="The same points for every order, whatever its size.")
@click.option("--enable/--disable", "enabled", default=None, help="Switch this way to earn on or off.")
@json_option
@with_services
async def ways_set(
    services: Services,
    store_id: int,
    kind: str,
    points: int | None,
    per: str | None,
    fixed: bool,
    enabled: bool | None,
    as_json: bool,
) -> None:
    """Change a way to earn, from now on. What was earned before stays as it is."""
    if points is None and per is None and enabled is None and not fixed:
        raise click.UsageError("Say what to change: --points, --per, --fixed, --enable or --disable.")
    if per is not None and fixed:
        raise click.UsageError("Points are either --fixed or --per an amount.")
    way_kind = WayKind(kind)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        program = await programs.by_id(connection, store.program_id)
        known = (await programs.ways(connection, program.id)).get(way_kind)
        with wrong_use():
            way = _changed(known, way_kind, program, points, per, fixed, enabled)
        await programs.set_way(connection, program.id, way, services.clock())
        found = await programs.ways(connection, program.id)
        await _note(
            connection, services, store, "way.changed", {"kind": kind, "version": found[way_kind].version}
        )
    if as_json:
        output.document({"store": store_id, "ways": _documents(found)})
    else:
        _show_ways(program, found)


def _changed(
    known: StoredWay | None,
    kind: WayKind,
    program: ProgramRow,
    points: int | None,
    per: str | None,
    fixed: bool,
    enabled: bool | None,
) -> WayToEarn:
    """The way to earn with what was named changed. Without --per or --fixed, --points keeps the form that it has."""
    if known is None and points is None:
        raise InvalidInputError(f"Nothing is set for {kind.value} yet; give --points.")
    way = known.way if known is not None else WayToEarn(kind, True, 0)
    per_minor = way.per_minor
    if fixed:
        per_minor = None
    elif per is not None:
        per_minor = exact_minor_units(per, program.currency)
    return replace(
        way,
        points=way.points if points is None else points,
        per_minor=per_minor,
        is_enabled=way.is_enabled if enabled is None else enabled,
    )


def _documents(found: dict[WayKind, StoredWay]) -> list[dict[str, object]]:
    return [
        {
            "kind": kind.value,
            "version": stored.version,
            "rule_version_id": stored.id,
            "is_enabled": stored.way.is_enabled,
            "points": stored.way.points,
            "per_minor": stored.way.per_minor,
        }
        for kind, stored in found.items()
    ]


def _show_ways(program: ProgramRow, found: dict[WayKind, StoredWay]) -> None:
    rows = [
        (kind.value, earns(stored.way, program.currency), stored.way.is_enabled, f"v{stored.version}")
        for kind, stored in sorted(found.items(), reverse=True)
    ]
    output.table(["Way to earn", "Earns", "Enabled", "Version"], rows)


def earns(way: WayToEarn, currency: str) -> str:
    """What a way to earn gives, in words."""
    points = output.count(way.points, "point")
    if way.kind is WayKind.SIGN_UP:
        return f"{points} for an account"
    return (
        f"{points} for an order"
        if way.per_minor is None
        else f"{points} per {output.money(way.per_minor, currency)}"
    )


@click.group(cls=Group, short_help="Award what happens from now on, or stop.")
def earning() -> None:
    """Say whether what happens from now on is awarded by itself; the past is for `perennial backfill`."""


@earning.command("on")
@store_argument
@json_option
@with_services
async def earning_on(services: Services, store_id: int, as_json: bool) -> None:
    """Award what happens in the store from now on."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        # On already: a later start would leave out what happened since and is not told yet.
        if store.earning_from is None:
            await programs.earn_from(connection, store_id, services.clock())
            await _note(connection, services, store, "earning.on", {})
    await _show_earning(services, store_id, as_json)


@earning.command("off")
@store_argument
@json_option
@with_services
async def earning_off(services: Services, store_id: int, as_json: bool) -> None:
    """Award nothing by itself; orders are still recorded, and a past-action run can award them later."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        if store.earning_from is not None:
            await programs.earn_from(connection, store_id, None)
            await _note(connection, services, store, "earning.off", {})
    await _show_earning(services, store_id, as_json)


@click.group(cls=Group, short_help="Switch a store's whole points program on or off.")
def program() -> None:
    """Switch a store's whole points program on or off, for all stores in it."""


@program.command("on")
@store_argument
@json_option
@with_services
async def program_on(services: Services, store_id: int, as_json: bool) -> None:
    """Let webhooks award points in the stores where earning is on."""
    await _switch(services, store_id, True)
    await _show_earning(services, store_id, as_json)


@program.command("off")
@store_argument
@json_option
@with_services
async def program_off(services: Services, store_id: int, as_json: bool) -> None:
    """Let webhooks award nothing; a confirmed run of past actions still does."""
    await _switch(services, store_id, False)
    await _show_earning(services, store_id, as_json)


async def _switch(services: Services, store_id: int, is_on: bool) -> None:
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        await programs.set_on(connection, store.program_id, is_on)
        await _note(connection, services, store, "program.on" if is_on else "program.off", {})


async def _show_earning(services: Services, store_id: int, as_json: bool) -> None:
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        found = await programs.by_id(connection, store.program_id)
    if as_json:
        output.document({"store": store_id, **_earning_document(store, found)})
    else:
        output.say(_earning_text(store, found))


def _earning_document(store: StoreRow, program: ProgramRow) -> dict[str, object]:
    return {
        "program": {
            "id": program.id,
            "name": program.name,
            "is_on": program.is_on,
            "currency": program.currency,
        },
        "earning_from": store.earning_from,
    }


def _earning_text(store: StoreRow, program: ProgramRow) -> str:
    switch = f"The points program of {store.name} is {'on' if program.is_on else 'off'}"
    if store.earning_from is None:
        return (
            f"{switch}; earning is off: `perennial earning on {store.id}` awards what happens from then on."
        )
    since = f"earning is on since {output.when(store.earning_from, store.time_zone)}"
    so = (
        "what happens in the store is awarded"
        if program.is_on
        else "nothing is awarded while the program is off"
    )
    return f"{switch}; {since}: {so}."


async def _note(
    connection: Connection, services: Services, store: StoreRow, action: str, detail: dict[str, object]
) -> None:
    await audit.record(
        connection,
        store.program_id,
        action,
        at=services.clock(),
        actor="merchant",
        store_id=store.id,
        detail=detail,
    )
