"""`perennial stores`, `sync` and `reconcile`: which stores there are, and bringing them up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import click

from app import output
from app.commands.base import json_option, store_argument, with_services
from connectors.base import Noun
from connectors.besides import EstimatesReading
from rewards.errors import InvalidInputError, RetryLaterError
from storage import stores as queries
from storage.overview import StoreOverview, overview
from storage.stores import StoreRow
from sync.history import run_import
from sync.reconcile import ReconcileReport
from sync.reconcile import reconcile as look_at
from sync.services import Services
from sync.subscriptions import WebhookState, notices


@click.command()
@json_option
@with_services
async def stores(services: Services, as_json: bool) -> None:
    """List the connected stores and how they stand."""
    async with services.database.transaction() as connection:
        found = await overview(connection, services.clock())
    if as_json:
        output.document({"stores": [_document(services, store) for store in found]})
    elif not found:
        output.say("No store is connected yet: `perennial connect --help` shows how.")
    else:
        _show(services, found)


def _document(services: Services, store: StoreOverview) -> dict[str, object]:
    document = asdict(store)
    inbox = {state: document.pop(f"deliveries_{state}") for state in ("waiting", "handled", "broken")}
    return document | {"deliveries": inbox, "notices": notices(services, store)}


def _show(services: Services, found: list[StoreOverview]) -> None:
    columns = ">Store Platform Name Status >Program >Customers >Guests >Orders >Points Earning Synced Webhooks".split()
    rows = [
        (
            str(store.id),
            store.platform,
            store.name,
            store.status,
            str(store.program_id),
            store.customers,
            store.guests,
            store.orders,
            store.points,
            _earning(store),
            output.when(store.synced_at, store.time_zone) or "not yet",
            _webhooks(store),
        )
        for store in found
    ]
    output.table(columns, rows)
    for store in found:
        if store.status_reason:
            output.say(f"\nStore {store.id} is {store.status}: {store.status_reason}")
        elif store.sync_error:
            output.say(
                f"\nReading store {store.id} stopped: {store.sync_error} `perennial sync {store.id}` goes on."
            )
        if store.grants_refused:
            output.say(f"\nStore {store.id}: {_refused(store)}")
        for notice in notices(services, store):
            output.say(f"\nStore {store.id}: {notice}")
    output.say("\nTimes are each store's own.")


def _refused(store: StoreOverview) -> str:
    return (
        f"{output.count(store.grants_refused, 'code')} refused by the store: `perennial codes {store.id} --state failed` "
        f"says why. Some are tried again each day, all of them by `perennial coupons verify {store.id} --repair`."
    )


def _earning(store: StoreOverview) -> str:
    if store.earning_from is None:
        return "off"
    return (
        f"since {output.when(store.earning_from, store.time_zone)}" if store.program_is_on else "program off"
    )


def _webhooks(store: StoreOverview) -> str:
    if store.webhook_address is None:
        return "not set up"
    waiting = f", {output.number(store.deliveries_waiting)} waiting" if store.deliveries_waiting else ""
    broken = f", {output.number(store.deliveries_broken)} broken" if store.deliveries_broken else ""
    return f"{output.number(store.deliveries_handled)} handled{waiting}{broken}"


@click.command()
@store_argument
@click.option("--full", is_flag=True, help="Read everything again, not only what changed.")
@click.option("--preview", is_flag=True, help="Only say about how much reading everything would take.")
@json_option
@with_services
async def sync(services: Services, store_id: int, full: bool, preview: bool, as_json: bool) -> None:
    """Read what changed in a store since the last time.

    Goes on where an earlier reading was stopped. Moves no points by itself.
    """
    store = await active_store(services, store_id)
    if preview:
        await _preview(services, store, as_json)
        return
    try:
        counts = await read_history(services, store, is_full=full)
    except RetryLaterError as error:
        raise click.ClickException(
            f"{error} What was read is kept; `perennial sync {store_id}` goes on from there."
        ) from None
    if as_json:
        output.document({"store": store_id, "read": counts})
        return
    output.say(f"Read from {store.name}: {_records(counts) or 'nothing new'}.")


async def _preview(services: Services, store: StoreRow, as_json: bool) -> None:
    """About what reading everything takes, where the platform counts how much it is read."""
    opened = services.open_store(store)
    found = await opened.estimate() if isinstance(opened, EstimatesReading) else None
    if as_json:
        output.document({"store": store.id, "estimate": asdict(found) if found else None})
    elif found is None:
        output.say(
            f"Reading {store.name} is not counted by {store.platform}; a full reading only takes its time."
        )
    else:
        output.say(
            f"Reading everything from {store.name} takes about {output.count(found.requests, 'request')} and "
            f"{_lasts(found.seconds)}. {found.note}"
        )


def _lasts(seconds: float) -> str:
    if seconds < 90:
        return output.count(max(1, round(seconds)), "second")
    return output.count(round(seconds / 60), "minute")


def _records(counts: Mapping[str, int]) -> str:
    """What was read, in words. Several records may tell of one order: a charge, a session and a refund."""
    read = {noun.removesuffix("s"): number for noun, number in counts.items() if number}
    return ", ".join(output.count(number, f"{noun} record") for noun, number in read.items())


async def active_store(services: Services, store_id: int) -> StoreRow:
    """The store, if it can be worked with. Raises NotFoundError, and InvalidInputError for one that is paused."""
    async with services.database.transaction() as connection:
        store = await queries.by_id(connection, store_id)
    if store.status != "active":
        reason = f": {store.status_reason}" if store.status_reason else "."
        raise InvalidInputError(
            f"Store {store_id} is {store.status}{reason} Give it a new key with `perennial connect {store.platform}`."
        )
    return store


async def read_history(services: Services, store: StoreRow, *, is_full: bool = False) -> dict[str, int]:
    """Reads the history with a progress bar; records read, by noun. Raises PlatformError."""
    totals: dict[str, int] = {}
    with output.progress("read", totals) as advance:

        def name(noun: Noun) -> str:
            return f"{store.name}: {noun.value}"

        report = await run_import(
            services,
            store.id,
            is_full=is_full,
            progress=lambda noun, more: advance(name(noun), more),
            expect=lambda noun, left: totals.update({name(noun): left}),
        )
    return {noun.value: int(report.counts[noun.value]) for noun in Noun if noun.value in report.counts}


@click.command(short_help="Catch up with what was missed, and check the codes.")
@store_argument
@json_option
@with_services
async def reconcile(services: Services, store_id: int, as_json: bool) -> None:
    """Compare a store with what we know of it, and catch up with what was missed.

    Workers do this once a day by themselves.
    """
    store = await active_store(services, store_id)
    with output.progress() as advance:
        report = await look_at(
            services, store_id, progress=lambda what, more: advance(f"{store.name}: {what}", more)
        )
    if as_json:
        output.document(_report(store_id, report))
        return
    output.say(f"Read again from {store.name}: {_records(report.read) or 'nothing had changed'}.")
    if report.vanished:
        output.say(f"{output.count(report.vanished, 'order')} had been deleted in the store.")
    if report.expired:
        output.say(f"{output.count(report.expired, 'code')} ran out unused.")
    if report.taken:
        output.say(f"{output.count(report.taken, 'code')} that the store had refused went in now.")
    show_differences(store_id, report.codes.checked, _differences(report))
    output.say(_WEBHOOKS_FOUND[report.webhooks.state].format(note=report.webhooks.note))


_WEBHOOKS_FOUND = {
    WebhookState.NOT_SET_UP: "Webhooks are not set up.",
    WebhookState.SET_UP: "Webhooks are set up now: changes come by themselves.",
    WebhookState.ON: "Webhooks are on.",
    WebhookState.SET_UP_AGAIN: "The platform had switched webhooks off or deleted them; they are set up again.",
    WebhookState.OFF: "Webhooks are off and could not be set up again: {note}",
    WebhookState.UNKNOWN: "Whether webhooks are on could not be seen: {note}",
}


def _report(store_id: int, report: ReconcileReport) -> Mapping[str, object]:
    return {
        "store": store_id,
        "read": dict(report.read),
        "orders_vanished": report.vanished,
        "grants_expired": report.expired,
        "codes_checked": report.codes.checked,
        "codes_taken_after_all": report.taken,
        "differences": _differences(report),
        "webhooks": report.webhooks.state,
        "webhooks_note": report.webhooks.note,
    }


def _differences(report: ReconcileReport) -> list[dict[str, object]]:
    return [asdict(found) for found in report.codes.differences]


def show_differences(store_id: int, checked: int, differences: list[dict[str, object]]) -> None:
    """What a look at the codes found, for people."""
    if not differences:
        output.say(f"Codes looked up in the store: {output.number(checked)}. All are as they should be.")
        return
    rows = [
        (
            "" if found["grant_id"] is None else str(found["grant_id"]),
            found["code"],
            found["difference"],
            "repaired" if found["repaired"] else found["refused"] or "still so",
        )
        for found in differences
    ]
    output.table([">Grant", "Code", "Difference", "Now"], rows)
    left = sum(1 for found in differences if not found["repaired"])
    output.say(
        f"\nCodes looked up in the store: {output.number(checked)}; "
        f"{output.number(len(differences))} differ{'s' if len(differences) == 1 else ''}, "
        f"{output.number(len(differences) - left)} repaired."
    )
    if left:
        output.say(f"`perennial coupons verify {store_id} --repair` puts right what can be.")
