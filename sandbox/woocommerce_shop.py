"""A WooCommerce shop's inside: what it holds, what shoppers and the merchant do, what is queued for webhooks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from sandbox.server import CheckoutRefused, Handler, Sandbox
from sandbox.woocommerce_auth import ApiKey, KeyRing
from sandbox.woocommerce_cart import check, discount_minor, lines_of
from sandbox.woocommerce_coupons import Coupon, CouponShelf, Problem
from sandbox.woocommerce_grants import GrantPages
from sandbox.woocommerce_hooks import WooHooks
from sandbox.woocommerce_host import Host
from sandbox.woocommerce_orders import OrderBook
from sandbox.woocommerce_records import FIRST_CUSTOMER, FIRST_ORDER, Json, customer_json, decimals
from sandbox.world import Person, Repayment, Sale, World

_TAX_PERCENT, _SHIPPING_MINOR = 21, 495
_OURS = "perennial_"  # coupons with a meta field of this beginning were made by the app


class WooCommerceShop(Sandbox):
    """Everything of one shop but its API.

    `is_https` makes it behave as behind TLS (Basic instead of OAuth); `prerendered` keeps the text of every order and
    customer once written, so that a measurement sees the client and not this server. `busy_seconds` is how long each answer takes;
    with more than `most_in_flight` at a time the host answers 503.
    """

    platform = "woocommerce"
    webhook_retries = 0

    def __init__(
        self,
        world: World,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        prerendered: bool = False,
    ) -> None:
        super().__init__(world, clock=clock)
        self.zone = ZoneInfo(world.seed.time_zone)
        self.coupons = CouponShelf(self.zone)
        self.prerendered = prerendered
        self.rendered_customers: dict[str, dict[Person, bytes]] = {}
        self.orders = OrderBook(world, self._used_coupon, keep_rendered=prerendered)
        self.host = Host()
        self.queue = WooHooks(self.faults, self._resource, self.now, self.host)
        self.hooks = self.queue
        self.read_write = _key(world.seed.number, "read_write")
        self.read_only = _key(world.seed.number, "read")
        self.keys = KeyRing((self.read_write, self.read_only), self.host)
        self.grants = GrantPages(self.keys, self.host, self.queue.session)
        self.is_https = False
        # What WordPress takes for its own address, where that is not the one it is reached at.
        self.home: str | None = None
        self.has_plain_permalinks = False
        self.has_woocommerce = True
        self.blocks_rest = False
        self.names_time_zone = True
        self.busy_seconds = 0.0
        self.most_in_flight = 16
        self.in_flight = 0
        self.most_seen_in_flight = 0
        self.enables_coupons = True
        self.counted: set[int] = set()  # sales whose coupon's use is counted
        self.customer_meta: dict[int, Json] = {}  # what was written into customers' fields
        self.administrator = Person(-1, "Ada Ministra", "admin@people.example", world.seed.now, None)
        self.accounts = [person for person in world.people if not person.is_guest]
        self._add_shop_coupons()

    def now(self) -> datetime:
        """To the second: WooCommerce keeps no more."""
        return self.clock().replace(microsecond=0)

    async def start(self, port: int = 0) -> str:
        url = await super().start(port)
        self.coupons.base = self.orders.base = url
        self.queue.source = f"{url}/"
        self.grants.home = url
        self.is_https = self.is_https or url.startswith("https:")
        return url

    def connect_answers(self) -> dict[str, str]:
        return {
            "url": self.url,
            "key": self.read_write.key,
            "secret": self.read_write.secret,
            "allow-private-hosts": "1",
        }

    def codes_in_store(self) -> int:
        return sum(1 for coupon in self.coupons.by_code.values() if _is_ours(coupon))

    async def _failure(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        return await super()._failure(request, handler) or await self.host.failure(request)

    def give_up_webhooks(self) -> None:
        """Disables every webhook."""
        for hook in self.queue.webhooks.values():
            hook.status = "disabled"

    def throttled(self) -> web.Response:
        """WooCommerce has no limiter; its host's proxy has."""
        return web.Response(status=429, text="<html>Too Many Requests</html>", content_type="text/html")

    def refused_credentials(self) -> web.Response:
        return problem_answer(
            Problem(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
        )

    def too_fast(self, request: web.Request) -> web.Response | None:
        if self.in_flight < self.most_in_flight:
            return None
        return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")

    def account(self, number: int) -> Person:
        """A registered customer; raises Problem."""
        index = number - FIRST_CUSTOMER
        if index == self.administrator.number:
            return self.administrator
        if not 0 <= index < len(self.world.people) or self.world.people[index].is_guest:
            raise Problem(404, "wc_user_invalid_id", "Invalid resource ID.")
        return self.world.people[index]

    def customer(self, number: int) -> Json:
        """As the API shows them; raises Problem. Fields that begin with _ are not shown."""
        shown = customer_json(self.account(number), self.world, self.url)
        written = self.customer_meta.get(number, {})
        meta = [entry for entry in shown["meta_data"] if entry["key"] not in written]
        meta += [
            {"id": 90_000 + 100 * number + place, "key": key, "value": value}
            for place, (key, value) in enumerate(written.items())
            if not key.startswith("_")
        ]
        return {**shown, "meta_data": meta}

    def write_customer_meta(self, number: int, entries: list[Json]) -> None:
        """Each by its key: changed in place, or made. Scalars are kept as text."""
        person = self.account(number)
        kept = self.customer_meta.setdefault(number, {})
        for entry in entries:
            value = entry["value"]
            kept[entry["key"]] = str(value) if isinstance(value, str | int | float) else value
        for texts in self.rendered_customers.values():
            texts.pop(person, None)
        self.queue.happened(number, "customer.updated")

    def _resource(self, noun: str, number: int) -> Json:
        """A webhook's body: the resource as it is now, or the API's error when it is gone."""
        try:
            if noun == "order":
                return self.orders.json(self.orders.index(number))
            if noun == "coupon":
                return self.coupons.json(self.coupons.get(number, status=404))
            return self.customer(number)
        except Problem as problem:
            return problem.body

    # -- what shoppers and the merchant do ---------------------------------------------------------------------------

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """By "customer" signed in, by "email" as a guest (even if that is an account's e-mail).

        What is bought may be told by "lines", see `sandbox.woocommerce_cart`. Below a coupon's minimum it is refused as
        "minimum_not_met", without what the coupon is for as "wrong_products", beside the reasons of `sandbox.server`.
        """
        person, by_account = self._shopper(body)
        email = person.email if by_account else str(body["email"])
        lines, now = lines_of(body), self.now()
        goods = sum(line.total_minor for line in lines)
        code = str(body["code"]).strip().lower() if body.get("code") else None
        user = str(FIRST_CUSTOMER + person.number) if by_account else email
        found = self.coupons.by_code.get(code) if code else None
        if code and not self.enables_coupons:
            raise CheckoutRefused("unknown_code")
        coupon = check(found, lines, email, user, now) if code else None
        scale = 10 ** decimals(self.world.seed.currency)
        if coupon and goods < round(float(coupon.fields["minimum_amount"]) * scale):
            raise CheckoutRefused("minimum_not_met")
        discount = discount_minor(coupon, lines, scale)
        sale = Sale(
            number=len(self.world.sales),
            person=person,
            by_account=by_account,
            email=email,
            placed_at=now,
            paid_at=now,
            subtotal_minor=goods - discount,
            tax_minor=(goods - discount) * _TAX_PERCENT // 100,
            shipping_minor=0 if coupon and coupon.fields["free_shipping"] else _SHIPPING_MINOR,
            updated_at=now,
            discount_minor=discount,
            code=code,
            in_history=False,
        )
        self.world.sales.append(sale)
        if coupon is not None:
            self._count_use(sale)
            self.redemptions += _is_ours(coupon)
        self._order_happened(sale, "order.created", "order.updated")
        return {
            "order": str(FIRST_ORDER + sale.number),
            "total_minor": sale.total_minor,
            "discount_minor": discount,
        }

    def _shopper(self, body: Mapping[str, object]) -> tuple[Person, bool]:
        if body.get("customer"):
            return self.account(int(str(body["customer"]))), True
        email = str(body["email"])
        known = self.world.by_email.get(email.lower())
        if known is None:
            known = Person(len(self.world.people), "Nueva Compradora", email, None, None)
            self.world.people.append(known)
            self.world.by_email[email.lower()] = known
        return known, False

    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None = None) -> str:
        """A new customer account. A guest's earlier orders stay a guest's."""
        person = Person(len(self.world.people), name, email, self.now(), birthday)
        self.world.people.append(person)
        self.world.by_email[email.lower()] = person
        self.accounts.append(person)
        number = FIRST_CUSTOMER + person.number
        self.queue.happened(number, "customer.created")
        return str(number)

    def refund_order(self, order: str, total_minor: int) -> None:
        """A refund; the code stays used."""
        sale = self.world.sales[self.orders.index(order)]
        now = self.now()
        sale.repayments.append(Repayment(sale.number * 10 + len(sale.repayments), total_minor, now))
        sale.updated_at = now
        self._order_happened(sale, "order.updated")

    def cancel_order(self, order: str) -> None:
        """Cancelled by the merchant; the code can be used again."""
        if self.world.sales[self.orders.index(order)].cancelled_at is None:
            self.set_status(order, "cancelled")

    def set_status(self, order: str, status: str) -> None:
        """As somebody sets it in the admin pages: "failed", "processing" again, a plugin's own."""
        index = self.orders.index(order)
        sale, now = self.world.sales[index], self.now()
        self.orders.given[index] = status
        sale.cancelled_at = now if status in ("cancelled", "failed") else None
        sale.updated_at = now
        self._count_use(sale)
        self._order_happened(sale, "order.updated")

    def trash_order(self, order: str) -> None:
        """Moved to the trash: it vanishes from lists, and `order.deleted` tells no more than its id."""
        index = self.orders.index(order)
        if index not in self.orders.trashed:
            self.orders.trashed.add(index)
            self._count_use(self.world.sales[index])
            self._order_happened(self.world.sales[index], "order.deleted")

    def untrash_order(self, order: str) -> None:
        """Brought back from the trash."""
        index = self.orders.index(order)
        self.orders.trashed.discard(index)
        self.world.sales[index].updated_at = self.now()
        self._count_use(self.world.sales[index])
        self._order_happened(self.world.sales[index], "order.restored", "order.updated")

    def delete_order(self, order: str) -> None:
        """Deleted for good without passing through the trash: nothing is sent, and its code stays used."""
        index = self.orders.index(order)
        self.orders.deleted.add(index)
        self.orders.changed(index)

    def edit_customer(self, number: int, **changes: Any) -> None:
        """A customer as changed in the admin pages, e.g. name="…" or birthday=(4, 30, None)."""
        person = self.account(number)
        changed = replace(person, **changes)
        self.world.people[person.number] = changed
        self.accounts[self.accounts.index(person)] = changed
        self.queue.happened(number, "customer.updated")

    def _count_use(self, sale: Sale) -> None:
        """Counts the use of the order's coupon, or gives it back; shops before late 2025 do that for cancelled ones only."""
        coupon = self.coupons.by_code.get(sale.code) if sale.code else None
        if coupon is None:
            return
        over = ("cancelled",) if self.coupons.is_older else ("cancelled", "failed", "trash")
        is_over, is_counted = self.orders.status(sale.number) in over, sale.number in self.counted
        if is_over and is_counted:
            self.counted.discard(sale.number)
            coupon.used_by.remove(_user(sale))
        elif not is_over and not is_counted:
            self.counted.add(sale.number)
            coupon.used_by.append(_user(sale))

    def _order_happened(self, sale: Sale, *topics: str) -> None:
        self.orders.changed(sale.number)
        self.queue.happened(FIRST_ORDER + sale.number, *topics)

    def _used_coupon(self, code: str) -> Json | None:
        coupon = self.coupons.by_code.get(code)
        if coupon is None:  # deleted since: the order still shows the code
            return {"id": 0, "code": code, "discount_type": "percent", "amount": "0", "free_shipping": False}
        return self.coupons.json(coupon)

    def _add_shop_coupons(self) -> None:
        """What the merchant had before the app came."""
        made = self.world.seed.now - timedelta(days=200)
        for body in (
            {"code": "Bienvenida10", "discount_type": "percent", "amount": "10", "usage_limit_per_user": 1},
            {"code": "envio-gratis", "amount": "0", "free_shipping": True, "minimum_amount": "30"},
            {"code": "verano5", "amount": "5", "date_expires": "2020-08-31"},
        ):
            self.coupons.create(body, made)


def problem_answer(problem: Problem) -> web.Response:
    """A refusal as WordPress writes it."""
    return web.json_response(problem.body, status=problem.status)


def _key(seed: int, permission: str) -> ApiKey:
    digest = hashlib.sha1(f"{seed}:{permission}".encode(), usedforsecurity=False).hexdigest()
    return ApiKey(f"ck_{digest}", f"cs_{digest[::-1]}", permission)


def _is_ours(coupon: Coupon) -> bool:
    return any(str(entry["key"]).startswith(_OURS) for entry in coupon.fields["meta_data"])


def _user(sale: Sale) -> str:
    """How a coupon remembers who used it: the customer's id as text, or a guest's e-mail."""
    return str(FIRST_CUSTOMER + sale.person.number) if sale.by_account else sale.email
