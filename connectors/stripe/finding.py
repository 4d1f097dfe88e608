"""Looks promotion codes up: one by one, or many of one coupon in lists of a hundred.

A daily look at 10,000 codes one by one would be 10,000 reads, where Stripe allows 500 for each payment; codes that were
made one after another lie together in the coupon's list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from stripe.params import PromotionCodeListParams

from connectors.stripe import drafts, mapping
from connectors.stripe.client import Client
from connectors.stripe.mapping import CouponObject, PromotionCode
from rewards.errors import RefusedError
from rewards.records import Coupon, KnownCode

T = TypeVar("T")

_AT_ONCE = (
    24  # most of them wait for their turn: none of the pace is lost while all answers are late for a moment
)
_PAGE = 100
_FEW = 10  # of so few codes of a coupon each is asked for by itself
_EXPAND = ["promotion.coupon.applies_to"]
EXPAND_COUPON = ["applies_to", "currency_options"]


class _CodeList(msgspec.Struct, gc=False):
    data: list[PromotionCode]
    has_more: bool = False


class Finder:
    """The coupons and promotion codes of one account as they are."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """Each code as it is now, with what its coupon gives; None as well where its coupon was deleted."""
        listed = await self._listed(codes)
        asked = [code for code in codes if code.external_id not in listed]
        answers = dict(zip(asked, await self.all([self.code(code) for code in asked]), strict=True))
        found = [answers[code] if code in answers else listed[str(code.external_id)] for code in codes]
        gone = await self._gone({coupon for code in found if code and (coupon := self._suspect(code))})
        return [
            mapping.coupon_of_code(code) if code and mapping.coupon_id_of(code) not in gone else None
            for code in found
        ]

    async def code(self, known: KnownCode) -> PromotionCode | None:
        """The code by its id; without one, a code of ours with its text, an active one first."""
        external_id = known.external_id
        if external_id is None:
            ours = [code for code in await self.by_text(known.code) if drafts.is_ours(code)]
            if not ours:
                return None
            external_id = next((code for code in ours if code.active), ours[0]).id
        return await self._client.find(
            "GET /v1/promotion_codes/id",
            lambda sdk: sdk.v1.promotion_codes.retrieve_async(external_id, {"expand": _EXPAND}),
            PromotionCode,
        )

    async def by_text(self, code: str, *, active: bool | None = None) -> Sequence[PromotionCode]:
        """Codes with this text, whoever's they are."""
        params: PromotionCodeListParams = {"code": code, "limit": _PAGE}
        if active is not None:
            params["active"] = active
        return (await self._list(params)).data

    async def coupon(self, external_id: str) -> CouponObject | None:
        """A coupon with its products and currencies."""
        return await self._client.find(
            "GET /v1/coupons/id",
            lambda sdk: sdk.v1.coupons.retrieve_async(external_id, {"expand": EXPAND_COUPON}),
            CouponObject,
        )

    async def all(self, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """All answers in order, some at a time. The first error is raised when every call has ended."""

        async def one(call: Coroutine[Any, Any, T]) -> T:
            async with self._slots:
                return await call

        answers = await asyncio.gather(*map(one, calls), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    # -- many at once ------------------------------------------------------------------------------------------------

    async def _listed(self, codes: Sequence[KnownCode]) -> dict[str, PromotionCode]:
        """By id what lists tell of the codes; those that no list tells of are left to be asked for."""
        by_coupon: dict[str, list[KnownCode]] = {}
        for code in codes:
            if code.external_id and code.coupon_external_id:
                by_coupon.setdefault(code.coupon_external_id, []).append(code)
        found: dict[str, PromotionCode] = {}
        for coupon, these in by_coupon.items():
            if len(these) > _FEW:
                found |= await self._stretch(coupon, these)
        return found

    async def _stretch(self, coupon: str, codes: Sequence[KnownCode]) -> dict[str, PromotionCode]:
        """What the coupon's list holds from the first of these codes to the last, in a bounded number of pages."""
        ends = [code for code in await self.all([self.code(codes[0]), self.code(codes[-1])]) if code]
        if len(ends) < 2:
            return {}
        first, last = sorted(code.created for code in ends)
        params: PromotionCodeListParams = {
            "coupon": coupon,
            "created": {"gte": first, "lte": last},
            "limit": _PAGE,
            "expand": [f"data.{name}" for name in _EXPAND],
        }
        found = {code.id: code for code in ends}
        for _ in range(2 * len(codes) // _PAGE + 2):
            try:
                page = await self._list(params)
            except RefusedError:  # of a coupon that is gone there may be no list
                break
            found |= {code.id: code for code in page.data}
            if not page.has_more or not page.data:
                break
            params["starting_after"] = page.data[-1].id
        return found

    async def _list(self, params: PromotionCodeListParams) -> _CodeList:
        return await self._client.call(
            "GET /v1/promotion_codes", lambda sdk: sdk.v1.promotion_codes.list_async(params), _CodeList
        )

    # -- deleted coupons ---------------------------------------------------------------------------------------------

    async def _gone(self, coupons: set[str]) -> set[str]:
        held = await self.all([self.coupon(each) for each in coupons])
        return {external_id for external_id, found in zip(coupons, held, strict=True) if found is None}

    def _suspect(self, code: PromotionCode) -> str | None:
        """The coupon of a code that is off although it is neither used up nor over: it may have been deleted."""
        is_used_up = code.max_redemptions is not None and code.times_redeemed >= code.max_redemptions
        is_over = code.expires_at is not None and code.expires_at <= self._clock().timestamp()
        return None if code.active or is_used_up or is_over else mapping.coupon_id_of(code)
