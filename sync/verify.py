"""Looks up our codes in the store and says how they differ from what members were promised; repairs on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from connectors.base import Store
from connectors.besides import GivesValues
from rewards.differences import (
    REFUSED,
    can_be_repaired,
    code_difference,
    coupon_difference,
    value_difference,
)
from rewards.errors import RefusedError
from rewards.records import BenefitKind, CodeDraft, KnownCode
from storage import coupons, grants, promotion_codes, refused, stores, values
from storage.database import Connection
from storage.grants import GrantToPush
from storage.promotion_codes import Checked
from storage.stores import StoreRow
from sync.drafts import code_returns, drafts_for, known_code
from sync.refused import try_all
from sync.services import Services

_IN_HAND = "it is being put into the store"
_NOT_TWICE = "what was given is not given twice: put it right in the store, or take the grant back"
_UNSEEN = "they could not be looked up"
_NOT_OURS = "the coupon is the store's own: put it right there, or change the reward"


@dataclass(frozen=True, slots=True)
class FoundDifference:
    """One code that is not as it should be. `repaired`: it was put right; `refused`: why that was not done.

    Without `grant_id` it is the code of a coupon of the store's own.
    """

    grant_id: int | None
    code: str
    difference: str
    repaired: bool = False
    refused: str | None = None


@dataclass(slots=True)
class VerifyReport:
    """How many codes were looked up, and those that differed."""

    checked: int = 0
    differences: list[FoundDifference] = field(default_factory=list)

    @property
    def repaired(self) -> int:
        """How many were put right."""
        return sum(1 for found in self.differences if found.repaired)


Progress = Callable[[int], None]  # how many more codes were looked up


async def verify_codes(
    services: Services, store_id: int, *, repair: bool = False, progress: Progress | None = None
) -> VerifyReport:
    """Compares every usable code with the store. Raises NotFoundError and PlatformError.

    Each batch's findings are stored before the next is looked up.
    """
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    platform = services.open_store(store)
    size = services.connector(store).push_size
    report, after = VerifyReport(), 0
    while True:
        async with services.database.transaction() as connection:
            batch = await promotion_codes.usable(connection, store_id, services.clock(), after, size)
            drafts = await drafts_for(services, connection, store, batch) if batch else []
        if not batch:
            break
        await _verify_batch(services, store, platform, batch, drafts, report, repair=repair)
        after = batch[-1].id
        if progress is not None:
            progress(len(batch))
    await _verify_coupons(services, store, platform, report)
    if isinstance(platform, GivesValues):
        await _verify_values(services, store, platform, size, report)
    await _verify_refused(services, store, report, repair=repair)
    return report


async def _verify_values(
    services: Services, store: StoreRow, platform: GivesValues, size: int, report: VerifyReport
) -> None:
    """Looks up store credit and gift cards that members were given; what is spent of them is theirs."""
    after = 0
    while True:
        async with services.database.transaction() as connection:
            batch = await values.delivered(connection, store.id, services.clock(), after, size)
            drafts = await drafts_for(services, connection, store, batch) if batch else []
        if not batch:
            return
        try:
            held = await platform.held(
                [(draft, grant.external_id or "") for grant, draft in zip(batch, drafts, strict=True)]
            )
        except RefusedError as error:
            what = "store credit and gift cards"
            report.differences.append(FoundDifference(None, what, _UNSEEN, refused=str(error)))
            return
        checks = [
            Checked(grant.id, value_difference(draft, found), grant.external_id, grant.coupon_external_id)
            for grant, draft, found in zip(batch, drafts, held, strict=True)
        ]
        async with services.database.transaction() as connection:
            await promotion_codes.record_checks(connection, store.id, checks, services.clock())
        for check, grant, draft in zip(checks, batch, drafts, strict=True):
            if check.difference is not None:
                name = grant.code if draft.benefit.kind is BenefitKind.GIFT_CARD else "store credit"
                report.differences.append(
                    FoundDifference(grant.id, name, check.difference, refused=_NOT_TWICE)
                )
        report.checked += len(batch)
        after = batch[-1].id


async def _verify_coupons(services: Services, store: StoreRow, platform: Store, report: VerifyReport) -> None:
    """Looks up the store's own coupons whose code members were given; only the merchant can put those right."""
    async with services.database.transaction() as connection:
        given = await coupons.given_to_members(connection, store.id, services.clock())
    for coupon in given:
        code = coupon.code or ""
        (found,) = await platform.find([KnownCode(code, coupon.external_id, coupon.parent_external_id)])
        now = services.clock()
        difference = coupon_difference(found, now)
        if difference is not None:
            report.differences.append(FoundDifference(None, code, difference, refused=_NOT_OURS))
        report.checked += 1
        async with services.database.transaction() as connection:
            await coupons.record_look(connection, store.id, coupon, found, difference, now)


async def _verify_refused(services: Services, store: StoreRow, report: VerifyReport, *, repair: bool) -> None:
    """Codes that the store has refused so far; to repair them is to ask for them again."""
    async with services.database.transaction() as connection:
        waiting = await refused.refused(connection, store.id, services.clock())
    if waiting and repair:
        await try_all(services, store.id)
    async with services.database.transaction() as connection:
        stand = await refused.states(connection, store.id, [grant.id for grant in waiting])
    for grant in waiting:
        state, reason = stand[grant.id]
        why = {"failed": reason, "decided": _IN_HAND}.get(state)
        found = FoundDifference(grant.id, grant.code, REFUSED, repaired=why is None, refused=why)
        report.differences.append(found)
    report.checked += len(waiting)


async def _verify_batch(
    services: Services,
    store: StoreRow,
    platform: Store,
    batch: Sequence[GrantToPush],
    drafts: Sequence[CodeDraft],
    report: VerifyReport,
    *,
    repair: bool,
) -> None:
    held = await platform.find([known_code(grant) for grant in batch])
    checks = []
    for grant, draft, coupon in zip(batch, drafts, held, strict=True):
        difference = code_difference(draft, coupon)
        check = Checked(grant.id, difference, grant.external_id, grant.coupon_external_id)
        if difference is not None:
            found = FoundDifference(grant.id, grant.code, difference)
            if repair and can_be_repaired(difference):
                found, check = await _repair(platform, grant, draft, found, check)
            report.differences.append(found)
        checks.append(check)
    report.checked += len(batch)
    explained = await _record(services, store, batch, checks)
    report.differences[:] = [found for found in report.differences if found.grant_id not in explained]


async def _record(
    services: Services, store: StoreRow, batch: Sequence[GrantToPush], checks: Sequence[Checked]
) -> set[int]:
    """Keeps what was found, and settles what depends on it; the grants that are rightly used up after all.

    A code that was made anew has another id, and an order may have brought that already. And where an order has ended,
    the store's count tells whether it gave its code back.
    """
    ids = [grant.id for grant in batch]
    moved = {
        check.grant_id
        for grant, check in zip(batch, checks, strict=True)
        if check.external_id != grant.external_id
    }

    async def record(connection: Connection) -> set[int]:
        before = await promotion_codes.used_up(connection, store.id, ids)
        await promotion_codes.record_checks(connection, store.id, checks, services.clock())
        after = await promotion_codes.used_up(connection, store.id, ids)
        if unsure := moved | before.keys() | after.keys():
            await grants.settle_codes(
                connection,
                store.id,
                sorted(unsure),
                returns=code_returns(services.connector(store).capabilities, store),
                now=services.clock(),
            )
        settled = await promotion_codes.used_up(connection, store.id, ids) if after else {}
        return {grant_id for grant_id, state in settled.items() if state == "redeemed"}

    return await services.database.retrying(record)


async def _repair(
    platform: Store, grant: GrantToPush, draft: CodeDraft, found: FoundDifference, check: Checked
) -> tuple[FoundDifference, Checked]:
    """Restores the code and looks it up again: what the store then holds is what counts."""
    try:
        restored = await platform.restore(draft, known_code(grant))
    except RefusedError as error:
        return replace(found, refused=str(error)), check
    if restored.refused is not None:
        return replace(found, refused=restored.refused), check
    now_known = replace(
        known_code(grant),
        external_id=restored.external_id,
        coupon_external_id=restored.coupon_external_id,
    )
    (coupon,) = await platform.find([now_known])
    difference = code_difference(draft, coupon)
    check = Checked(grant.id, difference, restored.external_id, restored.coupon_external_id)
    if difference is None:
        return replace(found, repaired=True), check
    return replace(found, refused=f"the store took it, and still: {difference}"), check
