"""A WooCommerce shop's orders and how its lists are filtered, sorted and cut into pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.woocommerce_coupons import Problem
from sandbox.woocommerce_records import FIRST_CUSTOMER, FIRST_ORDER, Json, only, order_json, order_status
from sandbox.world import Sale, World

_STATUSES = (
    "any",
    "trash",
    "auto-draft",
    "pending",
    "processing",
    "on-hold",
    "completed",
    "cancelled",
    "refunded",
    "failed",
    "checkout-draft",
)


class OrderBook:
    """The sales as orders. `keep_rendered` keeps every order's JSON once written, for measurements."""

    def __init__(
        self, world: World, coupon_json: Callable[[str], Json | None], *, keep_rendered: bool
    ) -> None:
        self.world = world
        self.base = ""
        self.keep_rendered = keep_rendered
        self.trashed: set[int] = set()
        self.deleted: set[int] = set()  # for good
        self.hidden: set[int] = set()  # of a status that a plugin keeps out of lists
        self.lists_drafts = False  # shops whose orders are posts still list checkouts that are not finished
        self.given: dict[int, str] = {}  # statuses that somebody or a plugin has set
        self._coupon_json = coupon_json
        self._rendered: dict[str, dict[int, bytes]] = {}
        self._views: dict[tuple[tuple[str, str], ...], Sequence[int]] = {}

    def changed(self, index: int) -> None:
        """To be called whenever a sale has changed or is new."""
        self._views.clear()
        for kept in self._rendered.values():
            kept.pop(index, None)

    def index(self, order: str | int) -> int:
        """The position of an order's sale; raises Problem for an id that is none."""
        index = int(order) - FIRST_ORDER
        if not 0 <= index < len(self.world.sales) or index in self.deleted:
            raise Problem(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
        return index

    def status(self, index: int) -> str:
        """Where the order stands, in WooCommerce's words."""
        if index in self.trashed:
            return "trash"
        return self.given.get(index) or order_status(self.world.sales[index])

    def json(self, index: int) -> Json:
        """The order with all its keys."""
        sale = self.world.sales[index]
        coupon = self._coupon_json(sale.code) if sale.code else None
        return order_json(sale, self.world, self.base, coupon, self.status(index))

    def text(self, index: int, fields: str) -> bytes:
        """The order as JSON text, cut to `_fields`."""
        kept = self._rendered.setdefault(fields, {}) if self.keep_rendered else {}
        if index not in kept:
            item = self.json(index)
            kept[index] = json.dumps(only(item, fields) if fields else item, separators=(",", ":")).encode()
        return kept[index]

    def view(self, query: Mapping[str, str]) -> Sequence[int]:
        """Positions of the orders that the query asks for, in its order."""
        names = (
            "after before modified_after modified_before dates_are_gmt status customer include orderby order"
        )
        key = tuple((name, query[name]) for name in names.split() if name in query)
        if key not in self._views:
            if len(self._views) > 8:
                self._views.clear()
            self._views[key] = self._select(dict(key))
        return self._views[key]

    def _select(self, query: Mapping[str, str]) -> Sequence[int]:
        tests = self._tests(query)
        sales = self.world.sales
        found: Sequence[int] = range(len(sales))
        if tests:
            found = [i for i in found if all(test(i, sales[i]) for test in tests)]
        orderby, is_descending = query.get("orderby", "date"), query.get("order", "desc") == "desc"
        if orderby in ("date", "modified"):
            name = "placed_at" if orderby == "date" else "updated_at"
            return sorted(found, key=lambda i: (getattr(sales[i], name), i), reverse=is_descending)
        if orderby not in ("id", "include", "title", "slug"):
            raise invalid("orderby", "orderby is not one of date, id, include, title, slug, and modified.")
        return found[::-1] if is_descending else found

    def _tests(self, query: Mapping[str, str]) -> list[Callable[[int, Sale], bool]]:
        tests: list[Callable[[int, Sale], bool]] = []
        statuses = query.get("status", "any").split(",")
        if any(status not in _STATUSES for status in statuses):
            raise invalid("status", f"status[0] is not one of {', '.join(_STATUSES)}.", "rest_not_in_enum")
        if self.deleted:
            tests.append(lambda i, _: i not in self.deleted)
        if statuses != ["any"]:
            tests.append(lambda i, _: self.status(i) in statuses)
        else:
            left_out = self.trashed | self.hidden
            if not self.lists_drafts:
                left_out |= {i for i, status in self.given.items() if status == "checkout-draft"}
            if left_out:
                tests.append(lambda i, _: i not in left_out)
        if "include" in query:
            wanted = {int(number) - FIRST_ORDER for number in query["include"].split(",")}
            tests.append(lambda i, _: i in wanted)
        if "customer" in query:
            number = int(query["customer"])
            tests.append(lambda _, s: (FIRST_CUSTOMER + s.person.number if s.by_account else 0) == number)
        for name, field, sign in (
            ("after", "placed_at", 1),
            ("before", "placed_at", -1),
            ("modified_after", "updated_at", 1),
            ("modified_before", "updated_at", -1),
        ):
            if name in query:
                tests.append(_beyond(field, sign, self._moment(name, query)))
        return tests

    def _moment(self, name: str, query: Mapping[str, str]) -> datetime:
        """A date without an offset is the shop's local time unless `dates_are_gmt`."""
        try:
            moment = datetime.fromisoformat(query[name])
        except ValueError:
            raise invalid(name, "Invalid date.", "rest_invalid_date") from None
        if moment.tzinfo:
            return moment
        is_gmt = query.get("dates_are_gmt") in ("true", "1")
        return moment.replace(tzinfo=UTC if is_gmt else ZoneInfo(self.world.seed.time_zone))


def _beyond(field: str, sign: int, moment: datetime) -> Callable[[int, Sale], bool]:
    """Strictly later (or earlier), to the second."""
    if sign > 0:
        return lambda _, sale: getattr(sale, field) > moment
    return lambda _, sale: getattr(sale, field) < moment


def invalid(name: str, reason: str, code: str = "rest_not_in_enum") -> Problem:
    """The answer to a bad parameter."""
    return Problem(
        400,
        "rest_invalid_param",
        f"Invalid parameter(s): {name}",
        params={name: reason},
        details={name: {"code": code, "message": reason, "data": None}},
    )


def cut(total: int, query: Mapping[str, str]) -> tuple[slice, dict[str, str], int, int]:
    """The part of a list that a page shows, the headers that count, the page and how many there are."""
    per_page, page = int(query.get("per_page", "10")), int(query.get("page", "1"))
    if not 1 <= per_page <= 100:
        reason = "per_page must be between 1 (inclusive) and 100 (inclusive)"
        raise invalid("per_page", reason, "rest_out_of_bounds")
    if page < 1:
        raise invalid("page", "page must be greater than or equal to 1", "rest_out_of_bounds")
    pages = -(-total // per_page)
    headers = {"X-WP-Total": str(total), "X-WP-TotalPages": str(pages)}
    return slice((page - 1) * per_page, page * per_page), headers, page, pages


def link_header(address: str, query: Mapping[str, Any], page: int, pages: int) -> dict[str, str]:
    """Repeats every query parameter, keys and signatures too; only "next" and "prev"."""
    parts = []
    for number, relation in ((page - 1, "prev"), (page + 1, "next")):
        if 1 <= number <= pages:
            text = "&".join(f"{name}={value}" for name, value in {**query, "page": number}.items())
            parts.append(f'<{address}?{text}>; rel="{relation}"')
    return {"Link": ", ".join(parts)} if parts else {}
