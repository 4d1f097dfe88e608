"""Personal codes as discounts of their own, each bound to one customer; and reading the shop's discounts.

A code carries no customer on Shopify, its discount does; so a bound code is one discount with one code. No call here
is idempotent: that codes are unique in a shop is what makes a repeat find the first instead of making a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from connectors.base import Page
from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import (
    DiscountNode,
    coupon,
    customer_gid,
    discount_input,
    is_free_shipping,
    repair_input,
    same_code,
    why_not,
)
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import external_id, gid
from rewards.changes import CouponSaved
from rewards.errors import RetryLaterError
from rewards.records import CodeDraft, Coupon, KnownCode, PushedCode

T = TypeVar("T")
R = TypeVar("R")

_IN_FLIGHT = 8
_PAGE = 50


class _Made(msgspec.Struct):
    id: str


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]
    code_discount_node: _Made | None = None


class _Outcome(msgspec.Struct):
    result: _Result


class _ByCode(msgspec.Struct, rename="camel"):
    code_discount_node_by_code: DiscountNode | None = None


class _ById(msgspec.Struct):
    nodes: list[DiscountNode | None]


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool


class _Nodes(msgspec.Struct, rename="camel"):
    nodes: list[DiscountNode]
    page_info: _PageInfo


class _NodesData(msgspec.Struct, rename="camel"):
    discount_nodes: _Nodes


class Discounts:
    """The code discounts of one shop."""

    def __init__(self, client: ShopifyClient, currency: str) -> None:
        self._client = client
        self._currency = currency

    async def pages(self, search: str, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """All code discounts in the order of their ids; the cursor names the last one read."""
        last = int(str(after["after"])) if after else 0
        while True:
            query = " AND ".join(part for part in ("method:code", f"id:>={last + 1}", search) if part)
            data = await self._client.call("discounts_page", {"first": _PAGE, "query": query}, _NodesData)
            found = data.discount_nodes.nodes
            changes = [CouponSaved(coupon(node)) for node in found]
            if not data.discount_nodes.page_info.has_next_page or not found:
                yield Page(changes, None)
                return
            last = max(int(external_id(node.id)) for node in found)
            yield Page(changes, {"after": last})

    async def push(self, drafts: Sequence[CodeDraft]) -> list[PushedCode]:
        """One answer per draft, in order; all are tried before an error is raised."""
        return await _side_by_side(self._push, drafts)

    async def find(self, codes: Sequence[KnownCode]) -> list[Coupon | None]:
        """Each code as the shop holds it, first by id, then by its text: somebody may have made it anew."""
        by_id = await self._by_ids([code.external_id for code in codes if code.external_id])

        async def one(code: KnownCode) -> Coupon | None:
            node = by_id.get(code.external_id or "")
            if node is None or not same_code(node.code, code.code):
                node = await self._by_code(code.code)
            return coupon(node) if node else None

        return await _side_by_side(one, codes)

    async def revoke(self, code: KnownCode) -> None:
        """Ends the discount now."""
        number = code.external_id
        if number is None:
            node = await self._by_code(code.code)
            if node is None:
                return
            number = external_id(node.id)
        data = await self._client.call(
            "discount_deactivate", {"id": gid("DiscountCodeNode", number)}, _Outcome
        )
        if data.result.user_errors and await self._by_code(code.code) is not None:
            raise refusal(data.result.user_errors)

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Writes the draft over whatever holds its code, or makes it when nothing does."""
        reason = why_not(draft, self._currency)
        if reason:
            return PushedCode(draft.code, refused=reason)
        found = await self._by_code(draft.code)
        if found is None:
            return await self._push(draft)
        if not found.is_kind_of(draft):
            return PushedCode(draft.code, refused="The shop uses this code for another kind of discount.")
        variables = {"id": found.id, "discount": repair_input(draft, found, self._currency)}
        data = await self._client.call(f"{_family(draft)}_update", variables, _Outcome)
        return _pushed(draft, data.result)

    async def _push(self, draft: CodeDraft) -> PushedCode:
        reason = why_not(draft, self._currency)
        if reason:
            return PushedCode(draft.code, refused=reason)
        variables = {"discount": discount_input(draft, self._currency)}
        data = await self._client.call(f"{_family(draft)}_create", variables, _Outcome)
        if any(error.code == "TAKEN" for error in data.result.user_errors):
            return await self._taken(draft)
        return _pushed(draft, data.result)

    async def _taken(self, draft: CodeDraft) -> PushedCode:
        """The code exists: ours from an earlier try, or somebody else's."""
        found = await self._by_code(draft.code)
        if found is None:
            raise RetryLaterError("A code was taken and gone in the same moment.")
        if customer_gid(draft) in found.customer_gids and found.is_kind_of(draft):
            return PushedCode(draft.code, external_id=external_id(found.id))
        return PushedCode(draft.code, refused="The shop uses this code for another discount.")

    async def _by_code(self, code: str) -> DiscountNode | None:
        data = await self._client.call("discount_by_code", {"code": code}, _ByCode)
        return data.code_discount_node_by_code

    async def _by_ids(self, numbers: Sequence[str]) -> dict[str, DiscountNode]:
        found: dict[str, DiscountNode] = {}
        for start in range(0, len(numbers), _PAGE):
            ids = [gid("DiscountCodeNode", number) for number in numbers[start : start + _PAGE]]
            data = await self._client.call("discounts_by_id", {"ids": ids}, _ById)
            found |= {external_id(node.id): node for node in data.nodes if node is not None}
        return found


def _family(draft: CodeDraft) -> str:
    return "discount_free_shipping" if is_free_shipping(draft) else "discount_basic"


def _pushed(draft: CodeDraft, result: _Result) -> PushedCode:
    if result.user_errors:
        return PushedCode(draft.code, refused=str(refusal(result.user_errors)))
    if result.code_discount_node is None:
        raise RetryLaterError("Shopify did not say which discount it has made.")
    return PushedCode(draft.code, external_id=external_id(result.code_discount_node.id))


async def _side_by_side(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """The results in order, a few at a time; the first error is raised when all have ended."""
    slots = asyncio.Semaphore(_IN_FLIGHT)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    done: list[R] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
