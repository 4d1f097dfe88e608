"""A stand-in WooCommerce 11.0.1 shop: REST `wc/v3` as recorded from a real one, quirks included.

Not here: products, the Store API, the authorize page. A shopper's checkout is the control route of `sandbox.server`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from sandbox.server import Sandbox
from sandbox.woocommerce_auth import ApiKey, KeyRing
from sandbox.woocommerce_coupons import Coupon, CouponShelf, Problem
from sandbox.woocommerce_hooks import Webhook, WooHooks
from sandbox.woocommerce_orders import OrderBook, cut, link_header
from sandbox.woocommerce_records import (
    FIRST_CUSTOMER,
    FIRST_ORDER,
    Json,
    customer_json,
    gmt_text,
    links,
    local_text,
    only,
)
from sandbox.world import Person, Repayment, Sale, World

_API = "/wp-json/wc/v3"
_TAX_PERCENT, _SHIPPING_MINOR = 21, 495
_OURS = "perennial_"  # coupons with a meta field of this beginning were made by the app
_NO_ROUTE = "No route was found matching the URL and request method."
_NAMESPACES = ["oembed/1.0", "wc/v3", "wc/v1", "wc/store", "wc/store/v1", "wc/v2", "wp/v2"]


class WooCommerceSandbox(Sandbox):
    """One shop. `is_https` makes it behave as behind TLS (Basic instead of OAuth); `prerendered` keeps the text of
    every order once written, so that a measurement sees the client and not this server.

    `busy_seconds` is how long each answer takes; with more than `most_in_flight` at a time the host answers 503.
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
        self.orders = OrderBook(world, self._used_coupon, keep_rendered=prerendered)
        self.queue = WooHooks(self.faults, self._resource, self.now)
        self.hooks = self.queue
        self.read_write = _key(world.seed.number, "read_write")
        self.read_only = _key(world.seed.number, "read")
        self.keys = KeyRing((self.read_write, self.read_only))
        self.is_https = False
        self.busy_seconds = 0.0
        self.most_in_flight = 16
        self.in_flight = 0
        self.most_seen_in_flight = 0
        self._accounts = [person for person in world.people if not person.is_guest]
        self._add_shop_coupons()

    def now(self) -> datetime:
        """To the second: WooCommerce keeps no more."""
        return self.clock().replace(microsecond=0)

    async def start(self, port: int = 0) -> str:
        url = await super().start(port)
        self.coupons.base = self.orders.base = url
        self.queue.source = f"{url}/"
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

    def throttled(self) -> web.Response:
        """WooCommerce has no limiter; its host's proxy has."""
        return web.Response(status=429, text="<html>Too Many Requests</html>", content_type="text/html")

    def refused_credentials(self) -> web.Response:
        return _problem(Problem(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources."))

    def too_fast(self, request: web.Request) -> web.Response | None:
        if self.in_flight < self.most_in_flight:
            return None
        return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")

    # -- routes ------------------------------------------------------------------------------------------------------

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/wp-json/", self._index)
        for noun in ("customers", "orders", "coupons", "webhooks"):
            router.add_get(f"{_API}/{noun}", self._route(getattr(self, f"_list_{noun}")))
            router.add_get(f"{_API}/{noun}/{{id:\\d+}}", self._route(getattr(self, f"_get_{noun}")))
        router.add_get(f"{_API}/data/currencies/current", self._route(self._currency))
        router.add_post(f"{_API}/coupons", self._route(self._create_coupon))
        router.add_post(f"{_API}/coupons/batch", self._route(self._batch_coupons))
        router.add_post(f"{_API}/webhooks", self._route(self._create_webhook))
        for method in ("PUT", "PATCH", "POST"):
            router.add_route(method, f"{_API}/coupons/{{id:\\d+}}", self._route(self._update_coupon))
            router.add_route(method, f"{_API}/webhooks/{{id:\\d+}}", self._route(self._update_webhook))
        router.add_delete(f"{_API}/coupons/{{id:\\d+}}", self._route(self._delete_coupon))
        router.add_delete(f"{_API}/webhooks/{{id:\\d+}}", self._route(self._delete_webhook))
        router.add_route("*", "/wp-json/{rest:.*}", self._route(self._nothing))

    def _route(self, handler: Callable[..., Any]) -> Callable[[web.Request], Any]:
        """The handler behind the key check, with refusals as WordPress writes them."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.in_flight += 1
            self.most_seen_in_flight = max(self.most_seen_in_flight, self.in_flight)
            try:
                if self.busy_seconds:
                    await asyncio.sleep(self.busy_seconds)
                self.keys.check(request, self.url, is_https=self.is_https)
                answer = handler(request)
                response: web.StreamResponse = await answer if asyncio.iscoroutine(answer) else answer
                return response
            except Problem as problem:
                return _problem(problem)
            finally:
                self.in_flight -= 1

        return handle

    def _nothing(self, request: web.Request) -> web.Response:
        raise Problem(404, "rest_no_route", _NO_ROUTE)

    async def _index(self, request: web.Request) -> web.Response:
        offset = self.zone.utcoffset(self.clock().replace(tzinfo=None)) or timedelta()
        hours = offset.total_seconds() / 3600
        index = {
            "name": "Tienda de prueba",
            "description": "",
            "url": self.url,
            "home": self.url,
            "gmt_offset": int(hours) if hours.is_integer() else hours,
            "timezone_string": self.world.seed.time_zone,
            "namespaces": _NAMESPACES,
            "authentication": [],
        }
        fields = request.query.get("_fields", "")
        return _json(only(index, fields) if fields else index)

    def _currency(self, request: web.Request) -> web.Response:
        code = self.world.seed.currency
        root = f"{self.url}{_API}/data/currencies"
        entry_links = {
            "self": [{"href": f"{root}/{code}", "targetHints": {"allow": ["GET"]}}],
            "collection": [{"href": root}],
        }
        name, symbol = ("Euro", "&euro;") if code == "EUR" else (code, code)
        return _json({"code": code, "name": name, "symbol": symbol, "_links": entry_links})

    def _page(
        self, request: web.Request, found: Sequence[Any], text: Callable[[Any, str], bytes]
    ) -> web.Response:
        part, headers, page, pages = cut(len(found), request.query)
        fields = request.query.get("_fields", "")
        body = b"[" + b",".join([text(item, fields) for item in found[part]]) + b"]"
        headers |= link_header(f"{self.url}{request.path}", request.query, page, pages)
        return web.Response(body=body, headers=headers, content_type="application/json", charset="utf-8")

    # -- customers and orders ----------------------------------------------------------------------------------------

    def _list_customers(self, request: web.Request) -> web.Response:
        people: Sequence[Person] = self._accounts
        email = request.query.get("email")
        if email is not None:
            people = [person for person in people if person.email.lower() == email.lower()]
        if request.query.get("orderby", "name") == "name":
            people = sorted(people, key=lambda person: person.name)
        if request.query.get("order", "asc") == "desc":
            people = people[::-1]
        return self._page(
            request, people, lambda person, fields: _text(customer_json(person, self.world, self.url), fields)
        )

    def _get_customers(self, request: web.Request) -> web.Response:
        return _json(customer_json(self._account(int(request.match_info["id"])), self.world, self.url))

    def _account(self, number: int) -> Person:
        index = number - FIRST_CUSTOMER
        if not 0 <= index < len(self.world.people) or self.world.people[index].is_guest:
            raise Problem(404, "wc_user_invalid_id", "Invalid resource ID.")
        return self.world.people[index]

    def _list_orders(self, request: web.Request) -> web.Response:
        return self._page(request, self.orders.view(request.query), self.orders.text)

    def _get_orders(self, request: web.Request) -> web.Response:
        return _json(self.orders.json(self.orders.index(request.match_info["id"])))

    # -- coupons -----------------------------------------------------------------------------------------------------

    def _list_coupons(self, request: web.Request) -> web.Response:
        query = request.query
        found = [coupon for coupon in self.coupons.by_id.values() if coupon.fields["status"] != "trash"]
        if "code" in query:
            found = [coupon for coupon in found if coupon.fields["code"] == query["code"].strip().lower()]
        if "include" in query:
            wanted = {int(number) for number in query["include"].split(",")}
            found = [coupon for coupon in found if coupon.id in wanted]
        if query.get("order", "desc") == "desc":
            found.reverse()
        return self._page(request, found, lambda coupon, fields: _text(self.coupons.json(coupon), fields))

    def _get_coupons(self, request: web.Request) -> web.Response:
        return _json(self.coupons.json(self.coupons.get(int(request.match_info["id"]), status=404)))

    async def _create_coupon(self, request: web.Request) -> web.Response:
        coupon = self.coupons.create(await _body(request), self.now())
        self.queue.happened(coupon.id, "coupon.created", "coupon.updated")
        return _json(self.coupons.json(coupon), status=201)

    async def _update_coupon(self, request: web.Request) -> web.Response:
        coupon = self.coupons.update(int(request.match_info["id"]), await _body(request), self.now())
        self.queue.happened(coupon.id, "coupon.updated")
        return _json(self.coupons.json(coupon))

    def _delete_coupon(self, request: web.Request) -> web.Response:
        coupon = self.coupons.delete(
            int(request.match_info["id"]), force=request.query.get("force") == "true"
        )
        self.queue.happened(coupon.id, "coupon.deleted")
        return _json(self.coupons.json(coupon))

    async def _batch_coupons(self, request: web.Request) -> web.Response:
        """Each item on its own: the status is 200 whatever happens to them."""
        body = await _body(request)
        lists = {name: list(body.get(name, ())) for name in ("create", "update", "delete")}
        if sum(map(len, lists.values())) > 100:
            raise Problem(
                413,
                "woocommerce_rest_request_entity_too_large",
                "Unable to accept more than 100 items for this request.",
            )
        work: dict[str, Callable[[Any], Coupon]] = {
            "create": lambda item: self.coupons.create(item, self.now(), in_batch=True),
            "update": lambda item: self.coupons.update(int(item["id"]), item, self.now(), in_batch=True),
            "delete": lambda item: self.coupons.delete(int(item), force=bool(body.get("force"))),
        }
        topics = {"create": ("coupon.created", "coupon.updated"), "update": ("coupon.updated",)}
        answer: dict[str, list[Json]] = {}
        for name, items in lists.items():
            for item in items:
                try:
                    coupon = work[name](item)
                    self.queue.happened(coupon.id, *topics.get(name, ("coupon.deleted",)))
                    shown = self.coupons.json(coupon)
                except Problem as problem:
                    number = 0 if name == "create" else int(item["id"] if name == "update" else item)
                    shown = {"id": number, "error": problem.body}
                answer.setdefault(name, []).append(shown)
        return _json(answer)

    # -- webhooks ----------------------------------------------------------------------------------------------------

    def _webhook_json(self, hook: Webhook) -> Json:
        def dates(name: str, moment: datetime | None) -> Json:
            return {name: local_text(moment, self.zone), f"{name}_gmt": gmt_text(moment)}

        return self.queue.json(hook, dates, links(self.url, "webhooks", hook.id))

    def _webhook(self, request: web.Request) -> Webhook:
        number = int(request.match_info["id"])
        if number not in self.queue.webhooks:
            raise Problem(404, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
        return self.queue.webhooks[number]

    def _list_webhooks(self, request: web.Request) -> web.Response:
        found = [hook for _, hook in sorted(self.queue.webhooks.items(), reverse=True)]
        return self._page(request, found, lambda hook, fields: _text(self._webhook_json(hook), fields))

    def _get_webhooks(self, request: web.Request) -> web.Response:
        return _json(self._webhook_json(self._webhook(request)))

    async def _create_webhook(self, request: web.Request) -> web.Response:
        return _json(self._webhook_json(await self.queue.create(await _body(request))), status=201)

    async def _update_webhook(self, request: web.Request) -> web.Response:
        hook = self._webhook(request)
        await self.queue.update(hook, await _body(request))
        return _json(self._webhook_json(hook))

    def _delete_webhook(self, request: web.Request) -> web.Response:
        hook = self._webhook(request)
        if request.query.get("force") != "true":
            raise Problem(501, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing.")
        del self.queue.webhooks[hook.id]
        return _json(self._webhook_json(hook))

    def _resource(self, noun: str, number: int) -> Json:
        """A webhook's body: the resource as it is now, or the API's error when it is gone."""
        try:
            if noun == "order":
                return self.orders.json(self.orders.index(number))
            if noun == "coupon":
                return self.coupons.json(self.coupons.get(number, status=404))
            return customer_json(self._account(number), self.world, self.url)
        except Problem as problem:
            return problem.body

    # -- what shoppers and the merchant do ---------------------------------------------------------------------------

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """By "customer" signed in, by "email" as a guest (even if that is an account's e-mail)."""
        person, by_account = self._shopper(body)
        email = person.email if by_account else str(body["email"])
        goods, now = int(str(body["subtotal_minor"])), self.now()
        code = str(body["code"]).strip().lower() if body.get("code") else None
        coupon = self.coupons.usable(code, email, now) if code else None
        discount = _discount(coupon, goods)
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
            coupon.used_by.append(_user(sale))
            self.redemptions += _is_ours(coupon)
        self._order_happened(sale, "order.created", "order.updated")
        return {
            "order": str(FIRST_ORDER + sale.number),
            "total_minor": sale.total_minor,
            "discount_minor": discount,
        }

    def _shopper(self, body: Mapping[str, object]) -> tuple[Person, bool]:
        if body.get("customer"):
            return self._account(int(str(body["customer"]))), True
        email = str(body["email"])
        known = self.world.by_email.get(email.lower())
        if known is None:
            known = Person(len(self.world.people), "Nueva Compradora", email, None, None)
            self.world.people.append(known)
            self.world.by_email[email.lower()] = known
        return known, False

    def refund_order(self, order: str, total_minor: int) -> None:
        """A refund; the code stays used."""
        sale = self.world.sales[self.orders.index(order)]
        now = self.now()
        sale.repayments.append(Repayment(sale.number * 10 + len(sale.repayments), total_minor, now))
        sale.updated_at = now
        self._order_happened(sale, "order.updated")

    def cancel_order(self, order: str) -> None:
        """Cancelled by the merchant; the code can be used again."""
        sale = self.world.sales[self.orders.index(order)]
        if sale.cancelled_at is None:
            sale.cancelled_at = sale.updated_at = self.now()
            self._give_code_back(sale)
            self._order_happened(sale, "order.updated")

    def trash_order(self, order: str) -> None:
        """Moved to the trash: it vanishes from lists, and `order.deleted` tells no more than its id."""
        index = self.orders.index(order)
        if index not in self.orders.trashed:
            self.orders.trashed.add(index)
            if self.world.sales[index].cancelled_at is None:
                self._give_code_back(self.world.sales[index])
            self._order_happened(self.world.sales[index], "order.deleted")

    def edit_customer(self, number: int, **changes: Any) -> None:
        """A customer as changed in the admin pages, e.g. name="…" or birthday=(4, 30, None)."""
        person = self._account(number)
        changed = replace(person, **changes)
        self.world.people[person.number] = changed
        self._accounts[self._accounts.index(person)] = changed
        self.queue.happened(number, "customer.updated")

    def _give_code_back(self, sale: Sale) -> None:
        coupon = self.coupons.by_code.get(sale.code) if sale.code else None
        if coupon is not None and _user(sale) in coupon.used_by:
            coupon.used_by.remove(_user(sale))

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


def _key(seed: int, permission: str) -> ApiKey:
    digest = hashlib.sha1(f"{seed}:{permission}".encode(), usedforsecurity=False).hexdigest()
    return ApiKey(f"ck_{digest}", f"cs_{digest[::-1]}", permission)


def _is_ours(coupon: Coupon) -> bool:
    return any(str(entry["key"]).startswith(_OURS) for entry in coupon.fields["meta_data"])


def _user(sale: Sale) -> str:
    """How a coupon remembers who used it: the customer's id as text, or a guest's e-mail."""
    return str(FIRST_CUSTOMER + sale.person.number) if sale.by_account else sale.email


def _discount(coupon: Coupon | None, goods_minor: int) -> int:
    if coupon is None:
        return 0
    cents = round(float(coupon.fields["amount"]) * 100)
    if coupon.fields["discount_type"] == "percent":
        return goods_minor * cents // 10_000
    return min(goods_minor, cents)


async def _body(request: web.Request) -> Json:
    try:
        body: Json = await request.json()
    except json.JSONDecodeError:
        raise Problem(
            400,
            "rest_invalid_json",
            "Invalid JSON body passed.",
            json_error_code=4,
            json_error_message="Syntax error",
        ) from None
    return body


def _text(item: Json, fields: str) -> bytes:
    return json.dumps(only(item, fields) if fields else item, separators=(",", ":")).encode()


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.json_response(content, status=status)


def _problem(problem: Problem) -> web.Response:
    return web.json_response(problem.body, status=problem.status)
