"""A shop's customers, orders and discounts from before we came, and again what has changed since.

Many rows are exported into a file, which costs no points and has no end at 25,000; few are read by ordinary pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

import msgspec

from connectors.base import Noun, Page, Window
from connectors.shopify.bulk import Export, read_export
from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import CustomerLine, CustomerRules, customer_from_line
from connectors.shopify.discounts import Discounts
from connectors.shopify.mapping import Moment, OrderLine, gid, order_from_line, utc
from connectors.shopify.permissions import Shown
from connectors.windows import even
from rewards.changes import Change, CustomerSaved, OrderSaved
from rewards.errors import RefusedError

# Shopify writes five files of an app at a time: customers, and so many parts of a history from so many orders on.
_PARTS, _CUT_FROM = 4, 10_000
_PAGED = 400  # rows up to which pages are ready before an export is
_CUSTOMERS_PAGE, _ORDERS_PAGE = 200, 40  # what fits into the 1,000 points of one request

T = TypeVar("T")
_PageRead = tuple[list[Change], str | None]  # changes, and the cursor of the next page
_PageAfter = Callable[[str, str | None], Awaitable[_PageRead]]


class _Count(msgspec.Struct):
    count: int


class _Made(msgspec.Struct, rename="camel"):
    created_at: Moment


class _Edge(msgspec.Struct):
    nodes: list[_Made]


class _Span(msgspec.Struct):
    first: _Edge
    last: _Edge


class _CountData(msgspec.Struct):
    found: _Count | None = None


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool
    end_cursor: str | None = None

    @property
    def next(self) -> str | None:
        return self.end_cursor if self.has_next_page else None


class _Customers(msgspec.Struct, rename="camel"):
    nodes: list[CustomerLine]
    page_info: _PageInfo


class _CustomersData(msgspec.Struct):
    customers: _Customers


class _Orders(msgspec.Struct, rename="camel"):
    nodes: list[OrderLine]
    page_info: _PageInfo


class _OrdersData(msgspec.Struct):
    orders: _Orders


class _CustomerData(msgspec.Struct):
    customer: CustomerLine | None = None


class History:
    """Reads one shop's past."""

    def __init__(self, client: ShopifyClient, discounts: Discounts, rules: CustomerRules) -> None:
        self._client = client
        self._discounts = discounts
        self._rules = rules
        self._shown = Shown.EVERYTHING
        # Shopify writes files slowly, several at once; reading one is soon done, and each that is read takes memory. One
        # of each noun, since orders wait for customers.
        self._one_file = {noun: asyncio.Lock() for noun in Noun}

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """Pages of a handful of rows, else files: one per noun, or of many orders several that are written at once."""
        search = _changed_since(since)
        if noun is Noun.COUPONS:
            return (Window(noun, {"search": search}),)
        document = "customers_count" if noun is Noun.CUSTOMERS else "orders_count"
        found = (await self._client.call(document, {"query": search}, _CountData)).found
        if found is None:
            return (Window(noun, {"search": search}),)
        if found.count <= _PAGED:
            pages = Window(noun, {"search": search, "by": "pages"}, found.count)
            return (pages,) if found.count else ()
        if noun is Noun.ORDERS and found.count > _CUT_FROM:
            return await self._parts(search, found.count)
        return (Window(noun, {"search": search}, found.count),)

    async def _parts(self, search: str, count: int) -> Sequence[Window]:
        """Files of equal stretches of time, the first and the last without end."""
        span = await self._client.call("orders_span", {"query": search}, _Span)
        made = [node.created_at for page in (span.first, span.last) for node in page.nodes]
        cuts = _cuts(min(made), max(made), _PARTS) if made else []
        bounds = pairwise(["", *(f"'{utc(cut):%Y-%m-%dT%H:%M:%SZ}'" for cut in cuts), ""])
        searches = [
            _all_of(search, f"created_at:>={first}" if first else "", f"created_at:<{end}" if end else "")
            for first, end in bounds
        ]
        expected = even(count, len(searches))
        return [
            Window(Noun.ORDERS, {"search": part}, number)
            for part, number in zip(searches, expected, strict=True)
        ]

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """The window's pages."""
        search = str(window.spec["search"])
        if window.noun is Noun.COUPONS:
            return self._discounts.pages(search, after)
        is_customers = window.noun is Noun.CUSTOMERS
        if window.spec.get("by") == "pages":
            return self._paged(self._customers_page if is_customers else self._orders_page, search, after)
        export = self._customers_export(search) if is_customers else _orders_export(search)
        return read_export(self._client, export, after, self._one_file[window.noun])

    async def customer(self, number: str) -> CustomerLine | None:
        """One customer as they are now; None when they are gone."""
        asked = {"id": gid("Customer", number), **self._field()}
        return (await self._with_people("customer_by_id", asked, _CustomerData)).customer

    def customer_saved(self, line: CustomerLine) -> Change:
        """The change that a customer's line tells."""
        return CustomerSaved(customer_from_line(line, self._rules))

    async def _paged(
        self, page_after: _PageAfter, search: str, after: Mapping[str, object] | None
    ) -> AsyncIterator[Page]:
        at = str(after["after"]) if after else None
        while True:
            changes, at = await page_after(search, at)
            yield Page(changes, {"after": at} if at else None)
            if at is None:
                return

    async def _customers_page(self, search: str, after: str | None) -> _PageRead:
        asked = {"first": _CUSTOMERS_PAGE, "after": after, "query": search, **self._field()}
        page = (await self._with_people("customers_page", asked, _CustomersData)).customers
        return [self.customer_saved(line) for line in page.nodes], page.page_info.next

    async def _orders_page(self, search: str, after: str | None) -> _PageRead:
        asked = {"first": _ORDERS_PAGE, "after": after, "query": search}
        page = (await self._with_people("orders_page", asked, _OrdersData)).orders
        return [_order_saved(line) for line in page.nodes], page.page_info.next

    async def _with_people(self, name: str, asked: Mapping[str, object], data: type[T]) -> T:
        """Asks for what names people too, and for less of it where Shopify refuses; at last records go by numbers alone."""
        shown = self._shown
        while True:
            try:
                answer = await self._client.call(name, {**asked, **shown.variables(name)}, data)
            except RefusedError as error:
                if error.code != "ACCESS_DENIED" or shown is Shown.NOBODY:
                    raise
                shown = Shown(shown + 1)
            else:
                self._shown = shown
                return answer

    def _customers_export(self, search: str) -> Export:
        return Export(
            documents=("bulk_customers", "bulk_customers_no_phone", "bulk_customers_hidden"),
            search=search,
            line=CustomerLine,
            change=self.customer_saved,
            metafield=(self._rules.namespace, self._rules.key),
        )

    def _field(self) -> dict[str, str]:
        return {"namespace": self._rules.namespace, "key": self._rules.key}


def _orders_export(search: str) -> Export:
    return Export(("bulk_orders", "bulk_orders_hidden"), search, OrderLine, _order_saved)


def _order_saved(line: OrderLine) -> Change:
    return OrderSaved(order_from_line(line))


def _all_of(*searches: str) -> str:
    """What all of them find; an empty one finds everything."""
    return " AND ".join(search for search in searches if search)


def _cuts(first: datetime, last: datetime, parts: int) -> list[datetime]:
    """The whole seconds that cut the time between into equal parts; fewer where there are not so many."""
    cuts = [first + (last - first) * part / parts for part in range(1, parts)]
    return sorted({cut.replace(microsecond=0) for cut in cuts} - {first})


def _changed_since(since: datetime | None) -> str:
    if since is None:
        return ""
    return f"updated_at:>='{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"
