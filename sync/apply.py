"""Applies a chunk of changes to what we know and to the ledger, in the caller's transaction.

The one way in: webhooks, history pages and reconciling all come through here. What a change awards depends on facts
alone (when it was paid, when the merchant switched earning on), not on how or in what order it was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from connectors.base import Capability
from rewards.changes import Change
from storage import coupons, grants, ledger, orders, people, privacy, programs, staging, stores
from storage.database import Connection
from storage.ledger import Written
from storage.stores import StoreRow
from sync import staged
from sync.drafts import code_returns
from sync.staged import Sorted


class _Whose(TypedDict):
    program_id: int
    store_id: int
    scope: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What one chunk did."""

    customers: int = 0
    orders: int = 0
    coupons: int = 0
    entries: int = 0
    points: int = 0
    redeemed: int = 0


async def apply_changes(
    connection: Connection,
    store: StoreRow,
    changes: Sequence[Change],
    *,
    now: datetime,
    capabilities: frozenset[Capability],
) -> Applied:
    """Merges what the changes tell, awards and takes back points, settles redemptions; all or nothing.

    Applying a chunk again, or chunks in another order, ends in the same awards, take-backs and balances.
    """
    told = staged.sort(changes)
    await ledger.lock_program(connection, store.program_id)
    await staging.prepare(connection)
    program = await programs.terms_now(connection, store.program_id, store.id)
    await _merge_people(connection, store, told, program, now)
    await _merge_orders(connection, store, told, program, now)
    await _merge_coupons(connection, store, told, now)
    written, redeemed = Written(), 0
    if told.customers and program["earning_from"] is not None and program["sign_up"] is not None:
        written += await _award_sign_ups(connection, store, told, program, now)
    if touched := await _touched(connection, store, told, program):
        written += await _settle_orders(connection, store, touched, program, now)
        if program["has_codes"]:
            # Also without a code in sight: an order that redeemed one may have lost it, or be cancelled without naming it.
            redeemed = await grants.settle_redemptions(
                connection,
                store.id,
                touched,
                returns=code_returns(capabilities, store),
                now=now,
            )
    await _end(connection, store, told, now)
    return Applied(
        customers=len(told.customers),
        orders=len(told.orders),
        coupons=len(told.coupons),
        entries=written.entries,
        points=written.points,
        redeemed=redeemed,
    )


async def _merge_people(
    connection: Connection, store: StoreRow, told: Sorted, program: dict[str, Any], now: datetime
) -> None:
    customers = staged.latest_customers(told.customers)
    rows = staged.customer_rows(customers.values(), ZoneInfo(store.time_zone))
    guests = staged.guest_rows(told.orders)
    if rows or guests:
        await staging.fill(connection, "incoming_people", rows)
        await staging.fill(connection, "incoming_people", guests)
        merge = people.merge_people if customers else people.add_stubs
        await merge(connection, **_whose(store, program), now=now)
    for pair in told.customers_merged:
        await people.merge_customers(
            connection,
            program_id=store.program_id,
            store_id=store.id,
            kept=pair.kept_external_id,
            gone=pair.gone_external_id,
            now=now,
        )
    if told.customers_deleted:
        await people.mark_deleted(connection, store.id, told.customers_deleted, now)


def _whose(store: StoreRow, program: dict[str, Any]) -> _Whose:
    """Where people are looked for: e-mails are matched within the store, or across the program."""
    scope = 0 if program["match_across_stores"] else store.id
    return {"program_id": store.program_id, "store_id": store.id, "scope": scope}


async def _merge_orders(
    connection: Connection, store: StoreRow, told: Sorted, program: dict[str, Any], now: datetime
) -> None:
    """Merges orders and refunds."""
    whose = _whose(store, program)
    await _mark_deleted(connection, store, told.orders_restored, now)
    for layer in staged.order_layers(told.orders) if told.orders else ():
        await staging.fill(connection, "incoming_orders", map(staged.order_row, layer.values()))
        await people.add_untold(connection, **whose, now=now)
        await orders.merge_orders(connection, program_id=store.program_id, store_id=store.id)
        if len(layer) < len(told.orders):
            await staging.empty(connection, "incoming_orders")
    if told.refunds:
        rows = (staged.refund_row(external_id, refund) for external_id, refund in told.refunds)
        await staging.fill(connection, "incoming_refunds", rows)
        await orders.merge_refunds(connection, store_id=store.id)
    await _mark_deleted(connection, store, told.orders_deleted, now)


async def _touched(
    connection: Connection, store: StoreRow, told: Sorted, program: dict[str, Any]
) -> list[int]:
    """Our ids of the orders told of, by any word; [] while they can neither earn, nor lose, nor redeem anything."""
    if not (_earns(program) or program["has_entries"] or program["has_codes"]):
        return []
    touched = {order.external_id for order in told.orders} | {order_id for order_id, _ in told.refunds}
    touched |= told.orders_deleted.keys()
    return await orders.ids_of(connection, store.id, sorted(touched)) if touched else []


def _earns(program: dict[str, Any]) -> bool:
    """Whether orders earn points by themselves now."""
    return program["earning_from"] is not None and program["place_order"] is not None


async def _mark_deleted(
    connection: Connection, store: StoreRow, deleted: Mapping[str, datetime | None], now: datetime
) -> None:
    if deleted:
        await orders.mark_deleted(
            connection,
            program_id=store.program_id,
            store_id=store.id,
            deleted={external_id: at or now for external_id, at in deleted.items()},
        )


async def _merge_coupons(connection: Connection, store: StoreRow, told: Sorted, now: datetime) -> None:
    if told.coupons:
        rows = map(staged.coupon_row, staged.latest_coupons(told.coupons).values())
        await staging.fill(connection, "incoming_coupons", rows)
        await coupons.merge_coupons(connection, program_id=store.program_id, store_id=store.id, now=now)
    if told.coupons_deleted:
        await coupons.mark_deleted(connection, store.id, told.coupons_deleted, now)


async def _award_sign_ups(
    connection: Connection, store: StoreRow, told: Sorted, program: dict[str, Any], now: datetime
) -> Written:
    """Awards the sign-ups among the customers told of; only new ones are looked at."""
    earning_from = program["earning_from"]
    if not any(c.joined_at is not None and c.joined_at >= earning_from for c in told.customers):
        return Written()
    members = await people.members_with_account(
        connection, store.id, [customer.external_id for customer in told.customers]
    )
    values = ledger.values_for(
        program_id=store.program_id,
        store_id=store.id,
        now=now,
        actor="webhook",
        way_id=program["sign_up"],
        members=members,
        earning_from=earning_from,
    )
    return await ledger.award_sign_ups(connection, values, is_run=False)


async def _settle_orders(
    connection: Connection, store: StoreRow, touched: list[int], program: dict[str, Any], now: datetime
) -> Written:
    """Awards what may be awarded now, then brings awards down (or up again) to what the orders' state leaves."""
    written = Written()
    values = ledger.values_for(
        program_id=store.program_id,
        store_id=store.id,
        now=now,
        actor="webhook",
        way_id=program["place_order"],
        earning_from=program["earning_from"],
    )
    values["orders"] = touched
    if _earns(program):
        written += await ledger.award_orders(connection, values, is_run=False)
    # Whatever is told of an order, also when nothing earns now: a refund, its end, or that it lives again.
    return written + await ledger.take_back(connection, values)


async def _end(connection: Connection, store: StoreRow, told: Sorted, now: datetime) -> None:
    if told.facts is not None:
        await stores.set_facts(connection, store.id, told.facts)
        await stores.ask_soon(connection, store.id)
    for request in told.privacy:
        await privacy.handle(connection, store, request, now)
    if told.uninstalled is not None:
        reason = "The app was taken out of the store."
        await stores.end(connection, store.id, reason, happened_at=told.uninstalled.happened_at)
