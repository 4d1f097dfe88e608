"""Codes in a shop: those of one customer as discounts of their own, those for whoever holds them in pools.

A code carries no customer on Shopify, its discount does; so a bound code is one discount with one code. No call here
is idempotent: that codes are unique in a shop is what makes a repeat find the first instead of making a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from connectors.base import Page
from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import DiscountNode, Goods, same_code
from connectors.shopify.discount_inputs import (
    bound_input,
    bound_repair,
    customer_gid,
    family,
    is_kind_of,
    why_not,
)
from connectors.shopify.failures import refusal
from connectors.shopify.lookups import Lookups, RedeemCode, side_by_side
from connectors.shopify.mapping import gid
from connectors.shopify.outcomes import Made, Result, made_number
from connectors.shopify.pools import Pools
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import Binding, CodeDraft, Coupon, KnownCode, PushedCode


class Discounts:
    """The code discounts of one shop. A known code of a pool names the pool as `coupon_external_id`."""

    def __init__(self, client: ShopifyClient, currency: str, zone: str) -> None:
        self._client = client
        self._currency = currency
        self._lookups = Lookups(client, currency)
        self._pools = Pools(client, self._lookups, currency, zone)

    def pages(self, search: str, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """All code discounts in the order of their ids."""
        return self._lookups.pages(search, after)

    async def push(self, drafts: Sequence[CodeDraft]) -> list[PushedCode]:
        """One answer per draft, in order; all are tried before an error is raised."""
        shared = [draft for draft in drafts if draft.binding is Binding.OPEN]
        bound = [draft for draft in drafts if draft.binding is Binding.BOUND]
        pooled = await self._pools.push(shared) if shared else []
        answers = {answer.code: answer for answer in [*pooled, *await side_by_side(self._push, bound)]}
        return [answers[draft.code] for draft in drafts]

    async def find(self, codes: Sequence[KnownCode]) -> list[Coupon | None]:
        """Each code as the shop holds it now, in order."""
        named = {code.coupon_external_id or code.external_id for code in codes}
        nodes = await self._lookups.by_numbers([number for number in named if number])
        places = {**await self._places_of_bound(codes, nodes), **await self._places_in_pools(codes, nodes)}
        missing = {place.discount for place in places.values()} - nodes.keys()
        nodes |= await self._lookups.by_numbers(sorted(missing))
        wanted = sorted({place.discount for place in places.values()} & nodes.keys())
        coupons = await self._lookups.coupons([nodes[number] for number in wanted])
        by_number = dict(zip(wanted, coupons, strict=True))

        def one(code: KnownCode) -> Coupon | None:
            place = places.get(code.code)
            coupon = by_number.get(place.discount) if place else None
            if place is None or coupon is None or not code.coupon_external_id:
                return coupon
            return replace(
                coupon,
                external_id=place.external_id or place.discount,
                code=place.code,
                used_count=place.used,
                parent_external_id=place.discount,
            )

        return [one(code) for code in codes]

    async def look(self, numbers: Sequence[str]) -> list[Coupon]:
        """The discounts with codes among these, as they are now."""
        return await self._lookups.coupons(list((await self._lookups.by_numbers(numbers)).values()))

    async def _places_of_bound(
        self, codes: Sequence[KnownCode], nodes: Mapping[str, DiscountNode]
    ) -> dict[str, RedeemCode]:
        """Where customers' codes are: by id, or by their text, as somebody may have made one anew."""

        async def one(code: KnownCode) -> RedeemCode | None:
            node = nodes.get(code.external_id or "")
            if node is None or not same_code(node.code, code.code):
                node = await self._lookups.by_code(code.code)
            return RedeemCode(code.code, node.number) if node else None

        bound = [code for code in codes if not code.coupon_external_id]
        found = zip(bound, await side_by_side(one, bound), strict=True)
        return {code.code: place for code, place in found if place is not None}

    async def _places_in_pools(
        self, codes: Sequence[KnownCode], nodes: Mapping[str, DiscountNode]
    ) -> dict[str, RedeemCode]:
        """Where pooled codes are, and how often each was used."""
        pools: dict[str, list[str]] = {}
        for code in codes:
            if code.coupon_external_id:
                pools.setdefault(code.coupon_external_id, []).append(code.code)
        places: dict[str, RedeemCode] = {}
        for number, asked in pools.items():
            pool = nodes.get(number)
            places |= await self._lookups.redeem_codes(asked, pool) if pool else {}
            # A pool that was deleted is made again under another number.
            elsewhere = [code for code in asked if code not in places]
            places |= await self._lookups.redeem_codes_anywhere(elsewhere)
        return places

    async def revoke(self, code: KnownCode) -> None:
        """Takes a pool's one code away, or ends a customer's discount now."""
        if code.coupon_external_id is not None:
            await self._pools.revoke(code)
            return
        number = code.external_id
        if number is None:
            node = await self._lookups.by_code(code.code)
            if node is None:
                return
            number = node.number
        asked = {"id": gid("DiscountCodeNode", number)}
        errors = (await self._client.call("discount_deactivate", asked, Made)).result.user_errors
        if errors and await self._lookups.by_code(code.code) is not None:
            raise refusal(errors)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Writes the draft over whatever holds its code, or makes it when nothing does."""
        reason = why_not(draft, self._currency)
        if reason:
            return PushedCode(draft.code, refused=reason)
        if draft.binding is Binding.OPEN:
            return await self._pools.restore(draft)
        found = await self._lookups.by_code(draft.code)
        if found is None:
            return await self._push(draft)
        if not is_kind_of(found, draft) or found.is_pool:
            return PushedCode(draft.code, refused="The shop uses this code for another kind of discount.")
        goods = (await self._lookups.goods([found])).get(found.id, Goods())
        price = await self._lookups.price_minor(draft.benefit)
        content = bound_repair(draft, found, goods, self._currency, price)
        variables = {"id": found.id, "discount": content}
        return _pushed(draft, (await self._client.call(f"{family(draft)}_update", variables, Made)).result)

    async def _push(self, draft: CodeDraft) -> PushedCode:
        reason = why_not(draft, self._currency)
        if reason:
            return PushedCode(draft.code, refused=reason)
        try:
            price = await self._lookups.price_minor(draft.benefit)
        except RefusedError as error:  # for all drafts of this reward, but perhaps for no other
            return PushedCode(draft.code, refused=str(error))
        variables = {"discount": bound_input(draft, self._currency, price)}
        data = await self._client.call(f"{family(draft)}_create", variables, Made)
        if any(error.code == "TAKEN" for error in data.result.user_errors):
            return await self._taken(draft)
        return _pushed(draft, data.result)

    async def _taken(self, draft: CodeDraft) -> PushedCode:
        """The code exists: ours from an earlier try, or somebody else's."""
        found = await self._lookups.by_code(draft.code)
        if found is None:
            raise RetryLaterError("A code was taken and gone in the same moment.")
        if customer_gid(draft) in found.customer_gids and is_kind_of(found, draft):
            return PushedCode(draft.code, external_id=found.number)
        return PushedCode(draft.code, refused="The shop uses this code for another discount.")


def _pushed(draft: CodeDraft, result: Result) -> PushedCode:
    try:
        return PushedCode(draft.code, external_id=made_number(result))
    except RefusedError as error:
        return PushedCode(draft.code, refused=str(error))
