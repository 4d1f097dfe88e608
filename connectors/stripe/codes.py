"""Coupons and promotion codes: one coupon for each version of a reward, one promotion code for each grant.

A promotion code's text, customer and expiry never change once it is made, a used-up or expired one stays inactive for
good, and a deleted coupon takes its codes with it; so putting one right means making a new one, with the same text if
the old one is inactive (docs.stripe.com/api/promotion_codes).

That nobody gets two codes rests on three things: the idempotency key (kept a day by Stripe), the text (active codes
of one text are unique for a customer), and a look-up by text before anything is tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from stripe.params import (
    CouponCreateParams,
    PromotionCodeCreateParams,
    PromotionCodeListParams,
)

from connectors.stripe import mapping
from connectors.stripe.client import Client, Operation
from connectors.stripe.mapping import CouponObject, PromotionCode
from rewards.errors import RefusedError
from rewards.records import BenefitKind, CodeDraft, Coupon, KnownCode, PushedCode

T = TypeVar("T")

_AT_ONCE = 8
_LONGEST_NAME = 40
# A draft's title may end in its occasion, "Birthday (birthday:2027)"; a coupon serves all of them.
_OCCASION = re.compile(r"\s*\([^()]*\)$")
# Stripe remembers an idempotency key for at least a day; past that only a look-up finds an earlier try.
_KEY_LIFE = timedelta(hours=20)
_EXPAND = ["promotion.coupon"]
KEY, REWARD = "perennial_key", "perennial_reward"  # in the metadata of what we make


class _CodeList(msgspec.Struct, gc=False):
    data: list[PromotionCode]


class Codes:
    """The codes of one account."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """Makes the codes, some at a time; a draft that Stripe will never take is answered with the reason."""
        coupons = {draft.reward_key: draft for draft in drafts}
        made = await self._all([self._coupon_or_reason(draft) for draft in coupons.values()])
        found = dict(zip(coupons, made, strict=True))
        return await self._all([self._push_one(draft, found[draft.reward_key]) for draft in drafts])

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """Each code as it is now, with what its coupon gives."""
        return await self._all([self._find_one(code) for code in codes])

    async def revoke(self, code: KnownCode) -> None:
        """Switches the code off. Without its id: every active code of ours with its text."""
        if code.external_id:
            ids = [code.external_id]
        else:
            ids = [found.id for found in await self._by_text(code.code, active=True) if _is_ours(found)]
        for external_id in ids:
            await self._client.find("POST /v1/promotion_codes", _switch(external_id, False), PromotionCode)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Switches the code on again where that is all it needs; otherwise makes a new one in its place."""
        if refused := _cannot_give(draft):
            return PushedCode(draft.code, refused=refused)
        try:
            coupon = await self._coupon(draft)
            old = await self._retrieve(known)
            usable = old is not None and self._is_as_drafted(old, draft, coupon.id)
            if old and usable and (old.active or await self._switched_on(old)):
                return _pushed(old)
            if old and old.active:
                await self._client.find("POST /v1/promotion_codes", _switch(old.id, False), PromotionCode)
            key = f"{draft.idempotency_key}:after:{old.id if old else known.external_id or known.code}"
            return await self._make(draft, coupon.id, key, look_first=True)
        except RefusedError as refusal:
            return PushedCode(draft.code, refused=str(refusal))

    # -- coupons -----------------------------------------------------------------------------------------------------

    async def _coupon_or_reason(self, draft: CodeDraft) -> CouponObject | str:
        if refused := _cannot_give(draft):
            return refused
        try:
            return await self._coupon(draft)
        except RefusedError as refusal:
            return str(refusal)

    async def _coupon(self, draft: CodeDraft) -> CouponObject:
        """The reward's coupon, made when it is not there. Raises RefusedError when it gives something else."""
        external_id = coupon_id(draft.reward_key)
        found = await self._retrieve_coupon(external_id)
        if found is None:
            params = _coupon_params(draft, external_id)
            try:
                found = await self._client.call(
                    "POST /v1/coupons", lambda sdk: sdk.v1.coupons.create_async(params), CouponObject
                )
            except RefusedError as refusal:
                if refusal.code != "resource_already_exists":
                    raise
                found = await self._retrieve_coupon(external_id)
        if found is None or not found.valid or not _gives(found, draft):
            raise RefusedError(
                f"The store's coupon {external_id} was changed or used up. Delete it in the Stripe Dashboard; it is "
                "then made anew.",
                code="coupon_differs",
            )
        return found

    async def _retrieve_coupon(self, external_id: str) -> CouponObject | None:
        return await self._client.find(
            "GET /v1/coupons/id", lambda sdk: sdk.v1.coupons.retrieve_async(external_id), CouponObject
        )

    # -- promotion codes ---------------------------------------------------------------------------------------------

    async def _push_one(self, draft: CodeDraft, coupon: CouponObject | str) -> PushedCode:
        if isinstance(coupon, str):
            return PushedCode(draft.code, refused=coupon)
        try:
            look_first = self._clock() - draft.starts_at > _KEY_LIFE
            return await self._make(draft, coupon.id, draft.idempotency_key, look_first=look_first)
        except RefusedError as refusal:
            return PushedCode(draft.code, refused=str(refusal))

    async def _make(self, draft: CodeDraft, coupon: str, key: str, *, look_first: bool) -> PushedCode:
        params = _code_params(draft, coupon, key)

        async def made_before() -> PromotionCode | None:
            for found in await self._by_text(draft.code):
                if (found.metadata or {}).get(KEY) == key and found.customer == draft.customer_external_id:
                    return found
            return None

        def operation(attempt: int) -> Operation:
            idempotency_key = _idempotency_key(key, params, attempt)
            return lambda sdk: sdk.v1.promotion_codes.create_async(
                params, {"idempotency_key": idempotency_key}
            )

        if look_first and (found := await made_before()):
            return _pushed(found)
        try:
            code = await self._client.create(
                "POST /v1/promotion_codes", operation, PromotionCode, made_before
            )
        except RefusedError:
            if (found := await made_before()) is None:
                raise
            code = found
        return _pushed(code)

    async def _by_text(self, code: str, *, active: bool | None = None) -> Sequence[PromotionCode]:
        params: PromotionCodeListParams = {"code": code, "limit": 100}
        if active is not None:
            params["active"] = active
        found = await self._client.call(
            "GET /v1/promotion_codes", lambda sdk: sdk.v1.promotion_codes.list_async(params), _CodeList
        )
        return found.data

    async def _retrieve(self, known: KnownCode) -> PromotionCode | None:
        external_id = known.external_id
        if external_id is None:
            ours = [code for code in await self._by_text(known.code) if _is_ours(code)]
            if not ours:
                return None
            external_id = next((code for code in ours if code.active), ours[0]).id
        return await self._client.find(
            "GET /v1/promotion_codes/id",
            lambda sdk: sdk.v1.promotion_codes.retrieve_async(external_id, {"expand": _EXPAND}),
            PromotionCode,
        )

    async def _find_one(self, known: KnownCode) -> Coupon | None:
        found = await self._retrieve(known)
        return mapping.coupon_of_code(found) if found else None

    async def _switched_on(self, code: PromotionCode) -> bool:
        """True if Stripe lets it be used again: not when it is used up, expired, or its coupon is gone."""
        try:
            again = await self._client.call("POST /v1/promotion_codes", _switch(code.id, True), PromotionCode)
        except RefusedError:
            return False
        return again.active

    def _is_as_drafted(self, code: PromotionCode, draft: CodeDraft, coupon: str) -> bool:
        """True if it says what a new one would, is not used up and has not expired."""
        wanted = _code_params(draft, coupon, "")
        minimum = wanted.get("restrictions", {}).get("minimum_amount")
        return (
            code.times_redeemed == 0
            and draft.ends_at > self._clock()
            and code.code.upper() == draft.code.upper()
            and code.customer == draft.customer_external_id
            and code.expires_at == wanted["expires_at"]
            and code.max_redemptions == 1
            and code.restrictions.minimum_amount == minimum
            and mapping.coupon_id_of(code) == coupon
        )

    async def _all(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """All answers in order, some at a time. The first error is raised when every call has ended."""

        async def one(call: Coroutine[Any, Any, T]) -> T:
            async with self._slots:
                return await call

        answers = await asyncio.gather(*map(one, calls), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]


def coupon_id(reward_key: str) -> str:
    """The id of a reward version's coupon: the same each time, so there is never a second one."""
    return "perennial-" + hashlib.sha256(reward_key.encode()).hexdigest()[:24]


def _cannot_give(draft: CodeDraft) -> str | None:
    """Why Stripe cannot give this benefit, in words for the merchant."""
    if draft.benefit.kind is BenefitKind.FREE_SHIPPING:
        return "Stripe has no free-shipping codes; choose a percentage or an amount for this reward."
    if draft.benefit.kind is BenefitKind.OTHER:
        return "Stripe codes give a percentage or an amount; choose one of them for this reward."
    return None


def _gives(coupon: CouponObject, draft: CodeDraft) -> bool:
    """True if the coupon gives what the draft says (a minimum belongs to the promotion code, not to the coupon)."""
    is_, wanted = mapping.benefit_of(coupon), draft.benefit
    same_amount = is_.amount_minor == wanted.amount_minor and is_.currency == wanted.currency
    return is_.kind is wanted.kind and (
        is_.basis_points == wanted.basis_points if wanted.kind is BenefitKind.PERCENTAGE else same_amount
    )


def _coupon_params(draft: CodeDraft, external_id: str) -> CouponCreateParams:
    benefit = draft.benefit
    params: CouponCreateParams = {
        "id": external_id,
        "name": _OCCASION.sub("", draft.title)[:_LONGEST_NAME],
        "duration": "once",
        "metadata": {REWARD: draft.reward_key[:500]},
    }
    if benefit.basis_points is not None:
        params["percent_off"] = benefit.basis_points / 100
    elif benefit.amount_minor is not None and benefit.currency is not None:
        params["amount_off"] = mapping.stripe_amount(benefit.amount_minor, benefit.currency)
        params["currency"] = benefit.currency.lower()
    return params


def _code_params(draft: CodeDraft, coupon: str, key: str) -> PromotionCodeCreateParams:
    params: PromotionCodeCreateParams = {
        "promotion": {"type": "coupon", "coupon": coupon},
        "code": draft.code,
        "max_redemptions": 1,
        "expires_at": int(draft.ends_at.timestamp()),
        "metadata": {KEY: key, REWARD: draft.reward_key[:500]},
    }
    if draft.customer_external_id is not None:
        params["customer"] = draft.customer_external_id
    minimum, currency = draft.benefit.minimum_minor, draft.benefit.currency
    if minimum is not None and currency is not None:
        params["restrictions"] = {
            "minimum_amount": mapping.stripe_amount(minimum, currency),
            "minimum_amount_currency": currency.lower(),
        }
    return params


def _idempotency_key(key: str, params: PromotionCodeCreateParams, attempt: int) -> str:
    """Names the request and all it asks for: Stripe refuses a key that comes back with other parameters."""
    asked = json.dumps([key, params, attempt], sort_keys=True)
    return "perennial-" + hashlib.sha256(asked.encode()).hexdigest()


def _switch(external_id: str, active: bool) -> Operation:
    return lambda sdk: sdk.v1.promotion_codes.update_async(external_id, {"active": active})


def _is_ours(code: PromotionCode) -> bool:
    return KEY in (code.metadata or {})


def _pushed(code: PromotionCode) -> PushedCode:
    return PushedCode(code.code, code.id, mapping.coupon_id_of(code))
