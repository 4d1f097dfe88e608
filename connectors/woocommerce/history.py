"""One shop's past: lists cut into windows of pages, read while the shop goes on selling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from connectors.base import Noun, Page, StoreOptions, Window
from connectors.windows import tapering
from connectors.woocommerce.answers import mended
from connectors.woocommerce.client import Client
from connectors.woocommerce.coupon_mapping import COUPON_FIELDS, CouponData, coupon_change
from connectors.woocommerce.mapping import (
    CUSTOMER_FIELDS,
    ORDER_FIELDS,
    CustomerData,
    OrderData,
    customer_change,
    order_change,
    utc,
)
from rewards.changes import Change, Ignored
from rewards.errors import InvalidInputError, RefusedError

PER_PAGE = 100
DRAFT = "checkout-draft"
# A role, or "all"; without it the shop lists those whose role is customer.
CUSTOMER_ROLE = "customer_role"
_ANY = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Listing:
    """How one noun's list is read."""

    path: str
    fields: str
    page: Callable[[bytes], Any]  # a list of the noun's structs
    item: Callable[[bytes], Any]
    change: Callable[[Any, StoreOptions], Change]


def _listing(path: str, fields: str, struct: type, change: Callable[[Any, StoreOptions], Change]) -> _Listing:
    many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[struct])  # type: ignore[valid-type]
    one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(struct)
    return _Listing(path, fields, many.decode, one.decode, change)


_LISTINGS: Mapping[Noun, _Listing] = {
    Noun.CUSTOMERS: _listing("wc/v3/customers", CUSTOMER_FIELDS, CustomerData, customer_change),
    Noun.COUPONS: _listing("wc/v3/coupons", COUPON_FIELDS, CouponData, coupon_change),
    Noun.ORDERS: _listing("wc/v3/orders", ORDER_FIELDS, OrderData, order_change),
}


@dataclass(frozen=True, slots=True)
class _Read:
    """One page as read, and how long the whole list was at that moment."""

    changes: list[Change]
    total: int
    is_full: bool


class _Head(msgspec.Struct):
    """An order, as much of it as tells whether it is there."""

    id: int
    status: str = ""


class _Newest(msgspec.Struct):
    """The latest order, by its date or its last change."""

    date_created_gmt: str | None = None
    date_modified_gmt: str | None = None


# By what orders are sorted, the field that says it, and the filter for what is before.
_BY_DATE = ("date", "date_created_gmt", "before")
_BY_CHANGE = ("modified", "date_modified_gmt", "modified_before")
_NEWEST = msgspec.json.Decoder(list[_Newest])
_HEAD = msgspec.json.Decoder(_Head)
_HEADS = msgspec.json.Decoder(list[_Head])


class History:
    """Customers, coupons and orders of one shop."""

    def __init__(self, client: Client, options: StoreOptions) -> None:
        self._client = client
        self._options = options
        self._lists_drafts: bool | None = None

    async def count_orders(self, first: datetime, end: datetime) -> int:
        """Orders placed in this time; the shop's bounds are outside of what it counts.

        Where orders are posts still, its lists hold the checkouts that are not finished too.
        """
        if self._lists_drafts is None:
            self._lists_drafts = await self._finds_drafts_listed()
        placed = {
            "after": _gmt(first - timedelta(seconds=1)),
            "before": _gmt(end),
            "dates_are_gmt": "true",
        }
        total = await self._count(placed)
        return total - await self._count({**placed, "status": DRAFT}) if self._lists_drafts else total

    async def _count(self, params: Mapping[str, str]) -> int:
        params = {**params, "_fields": "id", "per_page": "1"}
        total = (await self._client.get("wc/v3/orders", _ANY.decode, params)).total
        if total < 0:
            raise RefusedError(
                "The shop's host strips the header X-WP-Total, so its orders cannot be counted."
            )
        return total

    async def _finds_drafts_listed(self) -> bool:
        """True when lists that are asked for orders of any status hold a draft."""
        params = {"status": DRAFT, "_fields": "id", "per_page": "1"}
        try:
            drafts = (await self._client.get("wc/v3/orders", _HEADS.decode, params)).value
        except RefusedError:  # a shop without the block checkout does not know the status
            return False
        return bool(drafts) and await self._count({"include": str(drafts[0].id)}) > 0

    async def vanished(self, external_ids: Sequence[str]) -> Sequence[str]:
        """Those that the list leaves out, unless they are there when asked for alone.

        Plugins may have orders of a status that lists leave out.
        """
        params = {"include": ",".join(external_ids), "_fields": "id", "per_page": str(PER_PAGE)}
        listed = (await self._client.get("wc/v3/orders", _HEADS.decode, params)).value
        here = {str(head.id) for head in listed}
        return [
            external_id
            for external_id in external_ids
            if external_id not in here and await self._is_gone(external_id)
        ]

    async def _is_gone(self, external_id: str) -> bool:
        try:
            found = await self._client.get(
                f"wc/v3/orders/{int(external_id)}", _HEAD.decode, {"_fields": "id,status"}
            )
        except RefusedError as error:
            if error.code == "woocommerce_rest_shop_order_invalid_id":
                return True
            raise
        return found.value.status == "trash"

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """Ranges of pages of the list in the order of ids; the last one has no end.

        Customers and coupons have no trustworthy "changed since", so they are always read whole.
        """
        changed = _chosen(noun, since, self._options.settings)
        if noun is Noun.ORDERS:
            total, changed = await self._up_to_the_newest(changed)
        else:
            params = {**changed, "_fields": "id", "per_page": "1"}
            total = (await self._client.get(_LISTINGS[noun].path, _ANY.decode, params)).total
        if total < 0:  # a host that strips the header: one window, read until a page is not full
            return [Window(noun, {"from": 1, "to": None, "total": total, "filter": changed})]
        pages = -(-total // PER_PAGE)
        ends = [*accumulate(tapering(pages))]
        return [
            Window(
                noun,
                {"from": start + 1, "to": end if end < pages else None, "total": total, "filter": changed},
                expected=min(end * PER_PAGE, total) - start * PER_PAGE,
            )
            for start, end in pairwise([0, *ends])
        ]

    async def _up_to_the_newest(self, changed: dict[str, str]) -> tuple[int, dict[str, str]]:
        """How many orders there are, and a filter that keeps them: what comes later is for the next reading.

        So the list only becomes shorter while it is read, and its length tells by how much. An order that goes while
        another comes would leave the length as it was, and one more would slip to a page that was read already.
        """
        by, field, bound = _BY_CHANGE if "modified_after" in changed else _BY_DATE
        params = {**changed, "_fields": f"id,{field}", "per_page": "1", "orderby": by, "order": "desc"}
        newest = await self._client.get(_LISTINGS[Noun.ORDERS].path, _NEWEST.decode, params)
        moments = [utc(getattr(head, field)) for head in newest.value]
        if not moments or moments[0] is None:
            return newest.total, changed
        end = _gmt(moments[0] + timedelta(seconds=1))  # the bound itself is left out
        return newest.total, {**changed, bound: end, "dates_are_gmt": "true"}

    async def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """The window's pages; while one is being used the next is already being fetched.

        The list moves under us when orders come or go. When it has become shorter, what was on a page not yet read may
        now be on one read before, so reading goes back by as much; when longer, the end moves on by as much.
        """
        start, total = _number(window.spec["from"]), _number(window.spec["total"])
        end = _number(window.spec["to"]) if window.spec["to"] is not None else None
        page = start
        if after:
            page, total = _number(after["page"]), _number(after["total"])
        ahead: dict[int, asyncio.Task[_Read]] = {}
        try:
            while True:
                task = ahead.pop(page, None) or asyncio.ensure_future(self._page(window, page))
                if end is None or page < end:
                    self._fetch_ahead(ahead, window, page + 1, total)
                read = await task
                grown = max(0, read.total - _number(window.spec["total"]))
                last = None if end is None else end + -(-grown // PER_PAGE)
                following = page + 1
                if read.total < total:
                    following = max(1, page - -(-(total - read.total) // PER_PAGE))
                    _drop(ahead)
                is_over = not read.is_full if last is None else page >= last
                total = read.total
                if is_over and following > page:
                    yield Page(read.changes, None)
                    return
                yield Page(read.changes, {"page": following, "total": total})
                page = following
        finally:
            _drop(ahead)

    def _fetch_ahead(
        self, ahead: dict[int, asyncio.Task[_Read]], window: Window, page: int, total: int
    ) -> None:
        if page not in ahead and (page - 1) * PER_PAGE < total:
            task = ahead[page] = asyncio.ensure_future(self._page(window, page))
            # Fetched for nothing when reading stops or fails: then nobody else looks at how it ended.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _page(self, window: Window, page: int) -> _Read:
        listing = _LISTINGS[window.noun]
        changed = window.spec["filter"]
        assert isinstance(changed, Mapping)
        params = {
            **{str(name): str(value) for name, value in changed.items()},
            "_fields": listing.fields,
            "order": "asc",
            "orderby": "id",
            "per_page": str(PER_PAGE),
            "page": str(page),
        }
        answer = await self._client.get(listing.path, lambda body: self._changes(listing, body), params)
        return _Read(answer.value, answer.total, len(answer.value) == PER_PAGE)

    def _changes(self, listing: _Listing, body: bytes) -> list[Change]:
        """A page's changes; one record that a plugin has bent out of shape does not spoil the others."""
        options, change = self._options, listing.change
        try:
            return [change(data, options) for data in listing.page(body)]
        except (msgspec.ValidationError, InvalidInputError):
            return [self._one_change(listing, raw) for raw in _ANY.decode(body)]

    def _one_change(self, listing: _Listing, raw: msgspec.Raw) -> Change:
        for text in (bytes(raw), mended(bytes(raw))):
            with suppress(msgspec.ValidationError, InvalidInputError):
                return listing.change(listing.item(text), self._options)
        return Ignored("a record that cannot be read; look for a plugin that changes WooCommerce's API")


def _chosen(noun: Noun, since: datetime | None, settings: Mapping[str, str]) -> dict[str, str]:
    """Which records are asked for: those that changed, or customers of a role.

    The filter for changes is strictly later and to the second, so it starts a second earlier.
    """
    if noun is Noun.CUSTOMERS and (role := settings.get(CUSTOMER_ROLE, "")):
        return {"role": role}
    if since is None or noun is not Noun.ORDERS:
        return {}
    return {"modified_after": _gmt(since - timedelta(seconds=1)), "dates_are_gmt": "true"}


def _gmt(moment: datetime) -> str:
    """As the shop takes it together with `dates_are_gmt`: to the second, without an offset."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _drop(ahead: dict[int, asyncio.Task[_Read]]) -> None:
    for task in ahead.values():
        task.cancel()
    ahead.clear()


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
