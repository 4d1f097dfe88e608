"""A WooCommerce shop's inside: what it holds, who its customers are, what its host does."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from aiohttp import web

from sandbox.server import Handler, Sandbox
from sandbox.woocommerce_auth import ApiKey, KeyRing
from sandbox.woocommerce_catalogue import Catalogue
from sandbox.woocommerce_coupons import Coupon, CouponShelf, Problem
from sandbox.woocommerce_grants import GrantPages
from sandbox.woocommerce_hooks import WooHooks
from sandbox.woocommerce_host import Host
from sandbox.woocommerce_orders import OrderBook
from sandbox.woocommerce_records import FIRST_CUSTOMER, Json, customer_json
from sandbox.world import EarningRule, Person, World

REST_PREFIX = "wp-json"
_OURS = "perennial_"  # coupons with a meta field of this beginning were made by the app


class WooCommerceShop(Sandbox):
    """Everything of one shop but its API and what happens in it.

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
        self.catalogue = Catalogue()
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
        self.version = "11.0.1"
        # What WooCommerce calls the shop; older ones than 8.4 have no such id, and a copy of a shop has the same.
        self.store_id: str | None = str(uuid.uuid4())
        self.has_plain_permalinks = False
        self.rest_prefix = REST_PREFIX  # plugins change it; to be set before the start
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
        self.coupons.base = self.orders.base = self.catalogue.base = url
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
        return sum(1 for coupon in self.coupons.by_code.values() if is_ours(coupon))

    async def _failure(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        return await super()._failure(request, handler) or await self.host.failure(request)

    def books(self, rule: EarningRule, birthday_lead: int, joining_lead: int) -> dict[str, object]:
        """Beside the usual figures, how many requests there have been."""
        return {**super().books(rule, birthday_lead, joining_lead), "requests": self.requests}

    @property
    def release(self) -> tuple[int, int]:
        """WooCommerce's version, as far as it makes a difference here."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def be_older(self, version: str) -> None:
        """The shop as before that version's differences: tried on 8.0.3, 9.4.2 and 10.0.2, the rest read in the code.

        A written coupon status is ignored until late 2025; the block checkout compares e-mails letter by letter before
        9.5; only cancelled orders give their code back before 9.0; the shop has no id before 8.4; orders are posts in
        shops that were set up before 8.2, and then lists of orders hold checkouts that are not finished.
        """
        self.version = version
        self.coupons.ignores_status = self.release < (10, 4)
        self.orders.lists_drafts = self.release < (8, 2)
        if self.release < (8, 4):
            self.store_id = None

    def grants_key(self) -> ApiKey:
        """One more key, as somebody makes it in the admin pages."""
        key = _key(len(self.keys.keys), "read_write")
        self.keys.keys[key.key] = key
        return key

    def move_to(self, base: str) -> None:
        """The shop is at another address from now on, and the old one leads there."""
        self.home = self.host.moved_to = base

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


def is_ours(coupon: Coupon) -> bool:
    """True for a coupon that the app made."""
    return any(str(entry["key"]).startswith(_OURS) for entry in coupon.fields["meta_data"])
