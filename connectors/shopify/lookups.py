"""Looks discounts and their codes up: by id, by code, and what a discount is limited to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from connectors.base import Page
from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import DiscountNode, Goods, Money, coupon, same_code
from connectors.shopify.mapping import external_id, gid
from rewards.changes import CouponSaved
from rewards.errors import RefusedError
from rewards.money import minor_units
from rewards.records import Benefit, BenefitKind, Coupon

T = TypeVar("T")
R = TypeVar("R")

_IN_FLIGHT = 8
_PAGE = 50
_FEW, _MOST = 10, 100  # goods: what most discounts name at most, and what one can name


class RedeemCode(NamedTuple):
    """One code as a shop holds it, and the number of the discount that it belongs to.

    `external_id` None: the code exists, but Shopify's search does not know it yet.
    """

    code: str
    discount: str
    external_id: str | None = None
    used: int | None = None


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool = False
    end_cursor: str | None = None


class _ByCode(msgspec.Struct, rename="camel"):
    code_discount_node_by_code: DiscountNode | None = None


class _ById(msgspec.Struct):
    nodes: list[DiscountNode | None]


class _DiscountNodes(msgspec.Struct, rename="camel"):
    nodes: list[DiscountNode]
    page_info: _PageInfo


class _DiscountPage(msgspec.Struct, rename="camel"):
    discount_nodes: _DiscountNodes


class _Code(msgspec.Struct, rename="camel"):
    id: str
    code: str
    async_usage_count: int = 0


class _Codes(msgspec.Struct, rename="camel"):
    nodes: list[_Code] = []
    page_info: _PageInfo = msgspec.field(default_factory=_PageInfo)


class _Holder(msgspec.Struct):
    codes: _Codes = msgspec.field(default_factory=_Codes)


class _HolderNode(msgspec.Struct):
    id: str
    discount: _Holder


class _HolderByCode(msgspec.Struct, rename="camel"):
    code_discount_node_by_code: _HolderNode | None = None


class _HolderById(msgspec.Struct):
    nodes: list[_HolderNode | None]


class _Price(msgspec.Struct, rename="camel"):
    max_variant_price: Money


class _Good(msgspec.Struct, rename="camel"):
    id: str
    price_range: _Price | None = msgspec.field(name="priceRangeV2", default=None)


class _Goods(msgspec.Struct):
    nodes: list[_Good] = []


class _Items(msgspec.Struct):
    products: _Goods = msgspec.field(default_factory=_Goods)
    collections: _Goods = msgspec.field(default_factory=_Goods)


class _Gets(msgspec.Struct):
    items: _Items


class _LimitedDiscount(msgspec.Struct, rename="camel"):
    customer_gets: _Gets | None = None


class _LimitedNode(msgspec.Struct):
    id: str
    discount: _LimitedDiscount


class _LimitedById(msgspec.Struct):
    nodes: list[_LimitedNode | None]


class _ProductsById(msgspec.Struct):
    nodes: list[_Good | None]


class Lookups:
    """The code discounts of one shop, read only."""

    def __init__(self, client: ShopifyClient, currency: str) -> None:
        self._client = client
        self._currency = currency
        self._prices: dict[tuple[str, ...], int] = {}

    async def pages(self, search: str, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """All code discounts in the order of their ids; the cursor names the last one read."""
        last = int(str(after["after"])) if after else 0
        while True:
            query = " AND ".join(part for part in ("method:code", f"id:>={last + 1}", search) if part)
            data = await self._client.call("discounts_page", {"first": _PAGE, "query": query}, _DiscountPage)
            found = data.discount_nodes.nodes
            changes = [CouponSaved(coupon(node, self._currency)) for node in found]
            if not data.discount_nodes.page_info.has_next_page or not found:
                yield Page(changes, None)
                return
            last = max(int(node.number) for node in found)
            yield Page(changes, {"after": last})

    async def by_code(self, code: str) -> DiscountNode | None:
        """The discount that holds the code."""
        data = await self._client.call("discount_by_code", {"code": code}, _ByCode)
        return data.code_discount_node_by_code

    async def by_numbers(self, numbers: Sequence[str]) -> dict[str, DiscountNode]:
        """Discounts by their numbers; those that are gone are left out."""
        found: dict[str, DiscountNode] = {}
        for start in range(0, len(numbers), _PAGE):
            ids = [gid("DiscountCodeNode", number) for number in numbers[start : start + _PAGE]]
            data = await self._client.call("discounts_by_id", {"ids": ids}, _ById)
            found |= {node.number: node for node in data.nodes if node is not None}
        return found

    async def coupons(self, nodes: Sequence[DiscountNode]) -> list[Coupon]:
        """Their records, with what they are limited to."""
        goods = await self.goods(nodes)
        return [coupon(node, self._currency, goods.get(node.id)) for node in nodes]

    async def goods(self, nodes: Sequence[DiscountNode]) -> dict[str, Goods]:
        """What the limited ones among the discounts are limited to, by gid."""
        limited = [node.id for node in nodes if node.is_limited]
        found: dict[str, Goods] = {}
        for start in range(0, len(limited), _PAGE):
            found |= await self._goods(limited[start : start + _PAGE], _FEW)
        many = [number for number, goods in found.items() if goods.count >= _FEW]
        for number in many:
            found |= await self._goods([number], _MOST)
        return found

    async def _goods(self, ids: Sequence[str], first: int) -> dict[str, Goods]:
        data = await self._client.call("discount_items", {"ids": ids, "first": first}, _LimitedById)
        found = {}
        for node in data.nodes:
            if node is not None and node.discount.customer_gets is not None:
                items = node.discount.customer_gets.items
                found[node.id] = Goods(
                    products=tuple(product.id for product in items.products.nodes),
                    collections=tuple(collection.id for collection in items.collections.nodes),
                    price_minor=_dearest(items.products.nodes),
                )
        return found

    async def price_minor(self, benefit: Benefit) -> int:
        """What the dearest choice of a free product costs; 0 for what is no free product.

        Raises RefusedError when the shop has one of them no more.
        """
        if benefit.kind is not BenefitKind.FREE_PRODUCT:
            return 0
        products = benefit.product_external_ids
        if products not in self._prices:
            ids = [gid("Product", number) for number in products]
            nodes = (await self._client.call("product_prices", {"ids": ids}, _ProductsById)).nodes
            gone = [number for number, node in zip(products, nodes, strict=True) if node is None]
            if gone:
                raise RefusedError(
                    f"The shop has no product {', '.join(gone)}: choose another for this reward.",
                    code="NO_PRODUCT",
                )
            self._prices[products] = _dearest([node for node in nodes if node is not None])
        return self._prices[products]

    async def redeem_codes(self, codes: Sequence[str], pool: DiscountNode) -> dict[str, RedeemCode]:
        """Those of the codes that the pool holds, by their text as asked.

        Many are read from the pool, a few of many one by one, whichever costs less; so one that the pool does not
        hold may be told with the discount that does.
        """
        if pool.codes_count < len(codes) * 3:
            held = {found.code.casefold(): found async for found in self._codes_of(pool)}
            return {code: held[code.casefold()] for code in codes if code.casefold() in held}
        return await self.redeem_codes_anywhere(codes)

    async def redeem_codes_anywhere(self, codes: Sequence[str]) -> dict[str, RedeemCode]:
        """Those of the codes that the shop holds, by their text as asked; one call each."""
        found = zip(codes, await side_by_side(self.redeem_code, codes), strict=True)
        return {code: place for code, place in found if place is not None}

    async def redeem_code(self, code: str) -> RedeemCode | None:
        """One code as the shop holds it now."""
        asked = {"code": code, "words": f'"{code}"'}
        node = (await self._client.call("redeem_code", asked, _HolderByCode)).code_discount_node_by_code
        if node is None:
            return None
        number = external_id(node.id)
        for found in node.discount.codes.nodes:
            if same_code(found.code, code):
                return RedeemCode(found.code, number, external_id(found.id), found.async_usage_count)
        return RedeemCode(code, number)

    async def _codes_of(self, pool: DiscountNode) -> AsyncIterator[RedeemCode]:
        after: str | None = None
        while True:
            asked = {"id": pool.id, "after": after}
            [node] = (await self._client.call("redeem_codes_page", asked, _HolderById)).nodes
            if node is None:
                return
            for found in node.discount.codes.nodes:
                yield RedeemCode(found.code, pool.number, external_id(found.id), found.async_usage_count)
            if not node.discount.codes.page_info.has_next_page:
                return
            after = node.discount.codes.page_info.end_cursor


def _dearest(products: Sequence[_Good]) -> int:
    prices = [good.price_range.max_variant_price for good in products if good.price_range is not None]
    return max((minor_units(price.amount, price.currency_code) for price in prices), default=0)


async def side_by_side(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
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
