"""The daily look at a store: its webhooks, what we missed, and whether our codes are still as they should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.base import Capability
from rewards.occasions import local_today
from storage import audit, stores
from storage.database import Connection
from storage.stores import StoreRow
from sync.facts import ask_for_facts
from sync.history import run_import
from sync.points import compare_again
from sync.push import expire_store
from sync.refused import try_some
from sync.services import Services
from sync.subscriptions import WebhookLook, look_after
from sync.vanished import find_vanished
from sync.verify import VerifyReport, verify_codes


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """Records read again by noun, grants that ended, and how the codes and the webhooks were found."""

    read: Mapping[str, int]
    expired: int
    codes: VerifyReport
    webhooks: WebhookLook
    vanished: int = 0  # orders that the store had deleted without a word
    taken: int = 0  # codes that the store had refused before


Progress = Callable[[str, int], None]  # what, and how many more of it


async def reconcile(
    services: Services, store_id: int, *, progress: Progress | None = None
) -> ReconcileReport:
    """Sets lost webhooks up again, reads what changed meanwhile, then checks all usable codes.

    Raises NotFoundError and PlatformError; what was done until then stays, and the day is not counted as done.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    started = services.clock()
    await ask_for_facts(services, store)
    # Webhooks before the reading: what happens from then on is told, what happened before is read.
    webhooks = await look_after(services, store)
    # Orders before codes: a code that was used meanwhile is then redeemed, and not reported as used up.
    say = progress or _say_nothing
    read = await run_import(services, store_id, progress=lambda noun, more: say(noun.value, more))
    vanished = await find_vanished(services, store)
    expired = await expire_store(services, store_id)
    codes, taken = VerifyReport(), 0
    if Capability.WRITE_CODES in services.connector(store).capabilities:
        taken = await try_some(services, store_id)
        codes = await verify_codes(services, store_id, progress=lambda more: say("codes", more))
    await compare_again(services, store_id)
    report = ReconcileReport(read.counts, expired, codes, webhooks, vanished, taken)
    async with services.database.transaction() as connection:
        await stores.set_reconciled(connection, store_id, local_today(started, store.time_zone))
        await _note(connection, store, report, services)
    return report


def _say_nothing(what: str, more: int) -> None:
    """For callers who watch nothing."""


async def _note(connection: Connection, store: StoreRow, report: ReconcileReport, services: Services) -> None:
    detail = {
        "read": dict(report.read),
        "orders_vanished": report.vanished,
        "grants_expired": report.expired,
        "codes_checked": report.codes.checked,
        "codes_taken_after_all": report.taken,
        "codes_that_differ": len(report.codes.differences),
        "webhooks": report.webhooks.state,
        "webhooks_note": report.webhooks.note,
    }
    await audit.record(
        connection,
        store.program_id,
        "store.reconciled",
        at=services.clock(),
        actor="reconcile",
        store_id=store.id,
        detail=detail,
    )
