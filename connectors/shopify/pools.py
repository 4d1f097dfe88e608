"""Codes for whoever holds them: many in one discount, one use each.

One discount per reward and end date holds them, because the end sits on the discount; its limit of one use counts for
each code (community.shopify.dev, thread 12269). Codes are added 250 at a time by a job on Shopify's side, which is
followed to its end. A code is taken away by itself, never by touching the discount that others share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import DiscountNode, Goods
from connectors.shopify.discount_inputs import anchor, family, is_kind_of, pool_input, pool_repair, why_not
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.lookups import Lookups, RedeemCode, side_by_side
from connectors.shopify.mapping import gid
from connectors.shopify.outcomes import Made, made_number, refused_text
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import CodeDraft, KnownCode, PushedCode

_BATCH = 250  # Shopify takes no more in one call
_JOBS_AT_ONCE = 50  # asked for in one call
_FIRST_POLL_SECONDS, _SLOWEST_POLL_SECONDS, _LONGEST_WAIT_SECONDS = 0.2, 5.0, 300.0
_FOREIGN = "The shop uses this code for another discount."
_ENDED = (
    "The discount that holds this reward's codes was ended or replaced in the Shopify admin: repair the codes of the "
    "store, or change the reward."
)

_Key = tuple[str, datetime]


class _Job(msgspec.Struct, rename="camel"):
    id: str
    done: bool = False
    failed_count: int = 0


class _Added(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]
    bulk_creation: _Job | None = None


class _AddedData(msgspec.Struct):
    result: _Added


class _Jobs(msgspec.Struct):
    nodes: list[_Job | None]


class _Tried(msgspec.Struct):
    code: str
    errors: list[UserError] = []


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool
    end_cursor: str | None = None


class _TriedPage(msgspec.Struct, rename="camel"):
    nodes: list[_Tried]
    page_info: _PageInfo


class _Creation(msgspec.Struct):
    codes: _TriedPage


class _CreationData(msgspec.Struct, rename="camel"):
    discount_redeem_code_bulk_creation: _Creation | None = None


class _Deleted(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]


class _DeletedData(msgspec.Struct):
    result: _Deleted


@dataclass
class _Round:
    """What one push comes to: drafts still to add by pool, and answers by the code's text."""

    to_add: list[tuple[str, list[CodeDraft]]] = field(default_factory=list)
    answers: dict[str, PushedCode] = field(default_factory=dict)

    def holds(self, draft: CodeDraft, pool: str) -> None:
        self.answers[draft.code] = PushedCode(draft.code, coupon_external_id=pool)

    def refuses(self, draft: CodeDraft, reason: str) -> None:
        self.answers[draft.code] = PushedCode(draft.code, refused=reason)


class Pools:
    """The shared discounts of one shop and the codes in them."""

    def __init__(self, client: ShopifyClient, lookups: Lookups, currency: str, zone: str) -> None:
        self._client, self._lookups = client, lookups
        self._currency, self._zone = currency, zone
        self._known: dict[_Key, str] = {}  # numbers of the discounts that this object made, or made sure of
        self._mended: set[str] = set()  # those that it has written the draft over

    async def push(self, drafts: Sequence[CodeDraft]) -> list[PushedCode]:
        """One answer per draft, in order. What is in the shop already is found, by its code, before it is asked for."""
        round_, groups = _Round(), _grouped(drafts)
        await side_by_side(partial(self._prepare, round_), list(groups.values()))
        batches = [
            (pool, group[start : start + _BATCH])
            for pool, group in round_.to_add
            for start in range(0, len(group), _BATCH)
        ]
        await self._add(batches, round_)
        return [round_.answers[draft.code] for draft in drafts]

    async def revoke(self, code: KnownCode) -> None:
        """Takes this one code away and waits until the shop knows it no more."""
        pause, until = _FIRST_POLL_SECONDS, time.monotonic() + _LONGEST_WAIT_SECONDS
        asked_for: str | None = None
        while (found := await self._lookups.redeem_code(code.code)) is not None:
            if time.monotonic() > until or found.external_id is None:
                raise RetryLaterError("Shopify still holds a code that was revoked.", retry_after_seconds=60)
            if asked_for != found.external_id:
                await self._delete(found)
                asked_for = found.external_id
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)

    async def restore(self, draft: CodeDraft) -> PushedCode:
        """Writes the draft over its pool, which is made again when it is gone, and sees to it that it has the code."""
        pool = await self._lookups.by_code(anchor(draft.reward_key, draft.ends_at))
        if pool is not None and pool.number not in self._mended:
            reason = await self._mend(pool, draft)
            if reason is not None:
                return PushedCode(draft.code, refused=reason)
            self._mended.add(pool.number)
            self._known[_key(draft)] = pool.number
        found = await self._lookups.redeem_code(draft.code) if pool is not None else None
        if pool is None or found is None:
            [answer] = await self.push([draft])
            return answer
        return _answer(draft, found, pool.number)

    async def _mend(self, pool: DiscountNode, draft: CodeDraft) -> str | None:
        if not is_kind_of(pool, draft):
            return _FOREIGN
        goods = (await self._lookups.goods([pool])).get(pool.id, Goods())
        price = await self._lookups.price_minor(draft.benefit)
        content = pool_repair(draft, pool, goods, self._currency, price)
        data = await self._client.call(f"{family(draft)}_update", {"id": pool.id, "discount": content}, Made)
        return refused_text(data.result.user_errors)

    async def _prepare(self, round_: _Round, group: list[CodeDraft]) -> None:
        """Finds or makes the pool of drafts that share one, and sorts out what it holds already."""
        first = group[0]
        try:
            reason = why_not(first, self._currency)
            if reason is not None:
                raise RefusedError(reason)
            await self._find_or_make(first, group, round_)
        except RefusedError as error:
            for draft in group:
                round_.refuses(draft, str(error))

    async def _find_or_make(self, first: CodeDraft, group: list[CodeDraft], round_: _Round) -> None:
        known = self._known.get(_key(first))
        if known is None:
            pool = await self._lookups.by_code(anchor(first.reward_key, first.ends_at))
            if pool is not None:
                await self._look_up(group, pool, round_)
                return
            known = self._known[_key(first)] = await self._make(first)
        round_.to_add.append((known, group))

    async def _make(self, draft: CodeDraft) -> str:
        """The number of a new pool. Raises RefusedError."""
        price = await self._lookups.price_minor(draft.benefit)
        content = pool_input(draft, self._currency, price, self._zone)
        data = await self._client.call(f"{family(draft)}_create", {"discount": content}, Made)
        if any(error.code == "TAKEN" for error in data.result.user_errors):
            # Made a moment ago by an earlier try whose answer was lost, or by another process.
            pool = await self._lookups.by_code(anchor(draft.reward_key, draft.ends_at))
            if pool is None:
                raise RetryLaterError("A code was taken and gone in the same moment.")
            return pool.number
        return made_number(data.result)

    async def _look_up(self, group: list[CodeDraft], pool: DiscountNode, round_: _Round) -> None:
        """For a pool that was there before: what it holds of the group, what others hold, what is still to add."""
        if not pool.is_active or not is_kind_of(pool, group[0]):
            raise RefusedError(_ENDED)
        held = await self._lookups.redeem_codes([draft.code for draft in group], pool)
        missing = [draft for draft in group if draft.code not in held]
        for draft in group:
            if draft.code in held:
                round_.answers[draft.code] = _answer(draft, held[draft.code], pool.number)
        if missing:
            round_.to_add.append((pool.number, missing))

    async def _add(self, batches: Sequence[tuple[str, list[CodeDraft]]], round_: _Round) -> None:
        jobs = await side_by_side(partial(self._start, round_), batches)
        started = {job: batch for job, batch in zip(jobs, batches, strict=True) if job is not None}
        failed = await self._ended(list(started))
        for job, (pool, batch) in started.items():
            errors = await self._errors(job) if job in failed else {}
            for draft in batch:
                if draft.code.casefold() not in errors:
                    round_.holds(draft, pool)
            refused = [draft for draft in batch if draft.code.casefold() in errors]
            await side_by_side(partial(self._settle, errors, pool, round_), refused)

    async def _start(self, round_: _Round, of_pool: tuple[str, list[CodeDraft]]) -> str | None:
        """The job that adds the batch; None when Shopify refuses it as a whole."""
        pool, batch = of_pool
        asked = {"id": gid("DiscountCodeNode", pool), "codes": [{"code": draft.code} for draft in batch]}
        try:
            added = (await self._client.call("redeem_codes_add", asked, _AddedData)).result
            if any(error.code == "INVALID" for error in added.user_errors):
                self._known = {key: number for key, number in self._known.items() if number != pool}
                raise RetryLaterError("The discount that holds these codes has just been removed.")
            if added.user_errors:
                raise refusal(added.user_errors)
        except RefusedError as error:
            for draft in batch:
                round_.refuses(draft, str(error))
            return None
        if added.bulk_creation is None:
            raise RetryLaterError("Shopify did not say whether it adds the codes.")
        return added.bulk_creation.id

    async def _ended(self, jobs: list[str]) -> set[str]:
        """Waits for the end of all jobs, asking for those that are open in one call; which ones had failures."""
        pause, until = _FIRST_POLL_SECONDS, time.monotonic() + _LONGEST_WAIT_SECONDS
        failed: set[str] = set()
        while jobs:
            await asyncio.sleep(pause)
            data = await self._client.call("redeem_code_jobs", {"ids": jobs[:_JOBS_AT_ONCE]}, _Jobs)
            ended = {job.id for job in data.nodes if job is not None and job.done}
            failed |= {job.id for job in data.nodes if job is not None and job.done and job.failed_count}
            jobs = [job for job in jobs if job not in ended]
            if jobs and time.monotonic() > until:
                raise RetryLaterError("Shopify is still adding codes.", retry_after_seconds=30)
            pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)
        return failed

    async def _errors(self, job: str) -> dict[str, str]:
        """What Shopify has against single codes of a job, by the code in small letters."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            data = await self._client.call("redeem_code_errors", {"id": job, "after": after}, _CreationData)
            if data.discount_redeem_code_bulk_creation is None:
                raise RetryLaterError("Shopify has forgotten what became of the codes.")
            page = data.discount_redeem_code_bulk_creation.codes
            found |= {
                tried.code.casefold(): str(refusal(tried.errors)) for tried in page.nodes if tried.errors
            }
            if not page.page_info.has_next_page:
                return found
            after = page.page_info.end_cursor

    async def _settle(self, errors: dict[str, str], pool: str, round_: _Round, draft: CodeDraft) -> None:
        """A code that was not added: there from an earlier try, somebody else's, or refused for itself."""
        found = await self._lookups.redeem_code(draft.code)
        if found is None:
            round_.refuses(draft, errors[draft.code.casefold()])
        else:
            round_.answers[draft.code] = _answer(draft, found, pool)

    async def _delete(self, code: RedeemCode) -> None:
        asked = {
            "id": gid("DiscountCodeNode", code.discount),
            "codes": [gid("DiscountRedeemCode", code.external_id or "")],
        }
        errors = (await self._client.call("redeem_codes_delete", asked, _DeletedData)).result.user_errors
        if errors and await self._lookups.redeem_code(code.code) is not None:
            raise refusal(errors)


def _answer(draft: CodeDraft, found: RedeemCode, pool: str) -> PushedCode:
    """Ours from an earlier try, or somebody else's."""
    if found.discount == pool:
        return PushedCode(draft.code, coupon_external_id=pool)
    return PushedCode(draft.code, refused=_FOREIGN)


def _key(draft: CodeDraft) -> _Key:
    return draft.reward_key, draft.ends_at


def _grouped(drafts: Sequence[CodeDraft]) -> dict[_Key, list[CodeDraft]]:
    groups: dict[_Key, list[CodeDraft]] = {}
    for draft in drafts:
        groups.setdefault(_key(draft), []).append(draft)
    return groups
