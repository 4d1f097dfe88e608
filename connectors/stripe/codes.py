"""Coupons and promotion codes: one coupon for each version of a reward, one promotion code for each grant.

A promotion code's text, customer and expiry never change once it is made, a used-up or expired one stays inactive for
good, and a deleted coupon takes its codes with it; so putting one right means making a new one, with the same text if
the old one is inactive (docs.stripe.com/api/promotion_codes).

That nobody gets two codes rests on three things: the idempotency key (kept a day by Stripe), the text (active codes
of one text are unique for a customer), and a look-up by text before anything is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from stripe.params import CouponUpdateParams

from connectors.base import StoreOptions
from connectors.stripe import drafts as drafted
from connectors.stripe import errors, mapping
from connectors.stripe.client import Client, Operation
from connectors.stripe.finding import EXPAND_COUPON, Finder
from connectors.stripe.mapping import CouponObject, PromotionCode
from rewards.errors import RefusedError
from rewards.records import CodeDraft, Coupon, KnownCode, PushedCode

T = TypeVar("T")

# Stripe remembers an idempotency key for at least a day; past that only a look-up finds an earlier try.
_KEY_LIFE = timedelta(hours=20)


class Codes:
    """The codes of one account."""

    def __init__(self, client: Client, options: StoreOptions, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._finder = Finder(client, clock)
        self._coupons: dict[str, CouponObject] = {}  # by reward, as they were when last looked at

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """Makes the codes, some at a time; a draft that Stripe will never take is answered with the reason."""
        firsts = {draft.reward_key: draft for draft in drafts if not drafted.cannot_give(draft)}
        unknown = [draft for draft in firsts.values() if not self._knows_coupon(draft)]
        made = await self._finder.all([self._coupon_or_reason(draft) for draft in unknown])
        refused = {draft.reward_key: reason for draft, reason in zip(unknown, made, strict=True) if reason}
        return await self._finder.all(
            [self._push_one(draft, refused.get(draft.reward_key)) for draft in drafts]
        )

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """See `finding.Finder.find`."""
        return await self._finder.find(codes)

    async def revoke(self, code: KnownCode) -> None:
        """Switches the code off. Without its id: every active code of ours with its text."""
        if code.external_id:
            ids = [code.external_id]
        else:
            ids = [
                found.id
                for found in await self._finder.by_text(code.code, active=True)
                if drafted.is_ours(found)
            ]
        for external_id in ids:
            await self._client.find("POST /v1/promotion_codes", _switch(external_id, False), PromotionCode)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Switches the code on again where that is all it needs; otherwise makes a new one in its place."""
        if refused := drafted.cannot_give(draft):
            return PushedCode(draft.code, refused=refused)
        try:
            coupon = await self._coupon(draft)
            old = await self._finder.code(known)
            usable = (
                old is not None
                and draft.ends_at > self._clock()
                and drafted.is_as_drafted(old, draft, coupon.id, self._options)
            )
            if old and usable and (old.active or await self._switched_on(old)):
                return _pushed(old)
            if old and old.active:
                await self._client.find("POST /v1/promotion_codes", _switch(old.id, False), PromotionCode)
            key = f"{draft.idempotency_key}:after:{old.id if old else known.external_id or known.code}"
            return await self._make(draft, coupon.id, key, look_first=True)
        except RefusedError as refusal:
            return PushedCode(draft.code, refused=str(refusal))

    # -- coupons -----------------------------------------------------------------------------------------------------

    def _knows_coupon(self, draft: CodeDraft) -> bool:
        """True if the coupon was seen to give what the draft says; what a coupon gives never changes."""
        seen = self._coupons.get(draft.reward_key)
        return seen is not None and drafted.gives(seen, draft.benefit)

    async def _coupon_or_reason(self, draft: CodeDraft) -> str | None:
        """Makes sure that the reward's coupon is there; why that cannot be, else None."""
        try:
            await self._coupon(draft)
        except RefusedError as refusal:
            return str(refusal)
        return None

    async def _coupon(self, draft: CodeDraft) -> CouponObject:
        """The reward's coupon, made when it is not there. Raises RefusedError when it gives something else."""
        external_id = drafted.coupon_id(draft.reward_key)
        found = await self._finder.coupon(external_id)
        if found is None:
            found = await self._make_coupon(draft, external_id)
        if found is None or not found.valid or not drafted.gives(found, draft.benefit):
            raise RefusedError(
                f"The store's coupon {external_id} was changed or used up. Delete it in the Stripe Dashboard; it is "
                "then made anew.",
                code="coupon_differs",
            )
        if amounts := drafted.missing_amounts(found, draft.benefit, self._options):
            params: CouponUpdateParams = {
                "currency_options": {name: {"amount_off": off} for name, off in amounts.items()}
            }
            await self._client.call(
                "POST /v1/coupons",
                lambda sdk: sdk.v1.coupons.update_async(external_id, params),
                CouponObject,
            )
        self._coupons[draft.reward_key] = found
        return found

    async def _make_coupon(self, draft: CodeDraft, external_id: str) -> CouponObject | None:
        params = drafted.coupon_params(draft, external_id, self._options)
        params["expand"] = EXPAND_COUPON
        try:
            return await self._client.call(
                "POST /v1/coupons", lambda sdk: sdk.v1.coupons.create_async(params), CouponObject
            )
        except RefusedError as refusal:
            if refusal.code != "resource_already_exists":
                raise
            return await self._finder.coupon(external_id)

    # -- promotion codes ---------------------------------------------------------------------------------------------

    async def _push_one(self, draft: CodeDraft, refused: str | None) -> PushedCode:
        if refused := drafted.cannot_give(draft) or refused:
            return PushedCode(draft.code, refused=refused)
        look_first = self._clock() - draft.starts_at > _KEY_LIFE
        try:
            try:
                coupon = self._coupons[draft.reward_key]
                return await self._make(draft, coupon.id, draft.idempotency_key, look_first=look_first)
            except RefusedError as refusal:
                if refusal.code != "resource_missing" or errors.is_about(refusal, "customer"):
                    raise
            # The coupon was deleted since we looked at it.
            coupon = await self._coupon(draft)
            return await self._make(draft, coupon.id, draft.idempotency_key, look_first=True, tries_before=1)
        except RefusedError as refusal:
            return PushedCode(draft.code, refused=str(refusal))

    async def _make(
        self, draft: CodeDraft, coupon: str, key: str, *, look_first: bool, tries_before: int = 0
    ) -> PushedCode:
        params = drafted.code_params(draft, coupon, key, self._options)
        customer = drafted.customer_of(draft)

        async def made_before() -> PromotionCode | None:
            for found in await self._finder.by_text(draft.code):
                if (found.metadata or {}).get(drafted.KEY) == key and found.customer == customer:
                    return found
            return None

        def operation(attempt: int) -> Operation:
            idempotency_key = drafted.idempotency_key(key, params, tries_before + attempt)
            return lambda sdk: sdk.v1.promotion_codes.create_async(
                params, {"idempotency_key": idempotency_key}
            )

        if look_first and (found := await made_before()):
            return _pushed(found)
        try:
            code = await self._client.create(
                "POST /v1/promotion_codes", operation, PromotionCode, made_before
            )
        except RefusedError as refusal:
            if (found := await made_before()) is None:
                raise _in_words(refusal) from None
            code = found
        return _pushed(code)

    async def _switched_on(self, code: PromotionCode) -> bool:
        """True if Stripe lets it be used again: not when it is used up, expired, or its coupon is gone."""
        try:
            again = await self._client.call("POST /v1/promotion_codes", _switch(code.id, True), PromotionCode)
        except RefusedError:
            return False
        return again.active


def _switch(external_id: str, active: bool) -> Operation:
    return lambda sdk: sdk.v1.promotion_codes.update_async(external_id, {"active": active})


def _pushed(code: PromotionCode) -> PushedCode:
    return PushedCode(code.code, code.id, mapping.coupon_id_of(code))


def _in_words(refusal: RefusedError) -> RefusedError:
    """The refusal, with what to do where that is known."""
    if refusal.code == "resource_missing" and errors.is_about(refusal, "customer"):
        return RefusedError(
            "The member's Customer is gone from Stripe (resource_missing), and a bound code is for it alone. Take it back "
            "with `perennial codes revoke`, or give the reward's codes as open ones.",
            code=refusal.code,
        )
    if refusal.code != "resource_already_exists":
        return refusal
    return RefusedError(
        "The store has another active promotion code with this text (resource_already_exists). Switch that one off in "
        "the Stripe Dashboard under Coupons.",
        code=refusal.code,
    )
