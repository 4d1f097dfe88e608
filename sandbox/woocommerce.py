"""A stand-in WooCommerce 11.0.1 shop: REST `wc/v3` as recorded from a real one, quirks included.

The authorize page is in `woocommerce_grants.py`. Not here: most of a product, the Store API; a shopper's checkout is the control
route of `sandbox.server`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from aiohttp import web

from sandbox.woocommerce_coupons import Coupon, Problem
from sandbox.woocommerce_hooks import Webhook
from sandbox.woocommerce_orders import cut, link_header
from sandbox.woocommerce_records import (
    FIRST_CUSTOMER,
    Json,
    gmt_text,
    links,
    local_text,
    only,
)
from sandbox.woocommerce_shop import REST_PREFIX, problem_answer
from sandbox.woocommerce_trade import WooCommerceTrade
from sandbox.world import Person

_NO_ROUTE = "No route was found matching the URL and request method."
_NAMESPACES = ["oembed/1.0", "wc/v3", "wc/v1", "wc/store", "wc/store/v1", "wc/v2", "wp/v2"]


class WooCommerceSandbox(WooCommerceTrade):
    """The shop with its REST API."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        self.grants.add_routes(router)
        api = f"/{self.rest_prefix}/wc/v3"
        router.add_get("/", self._home)
        router.add_get(f"/{self.rest_prefix}/", self._index)
        for noun in ("customers", "orders", "coupons", "webhooks"):
            router.add_get(f"{api}/{noun}", self._route(getattr(self, f"_list_{noun}")))
            router.add_get(f"{api}/{noun}/{{id:\\d+}}", self._route(getattr(self, f"_get_{noun}")))
        for path, listed, one in (
            ("products/categories", self.catalogue.listed_categories, self.catalogue.category),
            ("products", self.catalogue.listed_products, self.catalogue.product),
        ):
            router.add_get(f"{api}/{path}", self._route(partial(self._list_catalogue, listed)))
            router.add_get(f"{api}/{path}/{{id:\\d+}}", self._route(partial(self._get_catalogue, one)))
        router.add_get(f"{api}/system_status", self._route(self._system_status))
        router.add_get(f"{api}/data/currencies/current", self._route(self._currency))
        router.add_get(f"{api}/settings/general/woocommerce_enable_coupons", self._route(self._setting))
        router.add_post(f"{api}/coupons", self._route(self._create_coupon))
        router.add_post(f"{api}/coupons/batch", self._route(self._batch_coupons))
        router.add_post(f"{api}/webhooks", self._route(self._create_webhook))
        for method in ("PUT", "PATCH", "POST"):
            router.add_route(method, f"{api}/coupons/{{id:\\d+}}", self._route(self._update_coupon))
            router.add_route(method, f"{api}/customers/{{id:\\d+}}", self._route(self._update_customer))
            router.add_route(method, f"{api}/webhooks/{{id:\\d+}}", self._route(self._update_webhook))
        router.add_delete(f"{api}/coupons/{{id:\\d+}}", self._route(self._delete_coupon))
        router.add_delete(f"{api}/webhooks/{{id:\\d+}}", self._route(self._delete_webhook))
        if self.rest_prefix != REST_PREFIX:
            router.add_get(f"/{REST_PREFIX}/", self._no_page)
        router.add_route("*", f"/{self.rest_prefix}/{{rest:.*}}", self._route(self._nothing))

    def _route(self, handler: Callable[..., Any]) -> Callable[[web.Request], Any]:
        """The handler behind the key check, with refusals as WordPress writes them."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.in_flight += 1
            self.most_seen_in_flight = max(self.most_seen_in_flight, self.in_flight)
            try:
                if self.busy_seconds:
                    await asyncio.sleep(self.busy_seconds)
                self._check_shop()
                self.keys.check(request, self.home or self.url, is_https=self.is_https)
                answer = handler(request)
                response: web.StreamResponse = await answer if asyncio.iscoroutine(answer) else answer
                return self.host.answered(response, request)
            except Problem as problem:
                return self.host.answered(problem_answer(problem), request)
            finally:
                self.in_flight -= 1

        return handle

    def _nothing(self, request: web.Request) -> web.Response:
        raise Problem(404, "rest_no_route", _NO_ROUTE)

    def _check_shop(self) -> None:
        """What a merchant's own choices put in the way of the API."""
        if self.has_plain_permalinks or not self.has_woocommerce:
            raise Problem(404, "rest_no_route", _NO_ROUTE)
        if self.blocks_rest:
            raise Problem(
                401, "rest_login_required", "DRA: Only authenticated users can access the REST API."
            )

    async def _home(self, request: web.Request) -> web.StreamResponse:
        """The shop's front page; by `rest_route` the API where permalinks are plain."""
        if request.query.get("rest_route") == "/" and not self.blocks_rest:
            return self._index_answer(request)
        return self._front_page()

    def _front_page(self) -> web.Response:
        """It tells where the API is, in a header."""
        root = "index.php?rest_route=/" if self.has_plain_permalinks else f"{self.rest_prefix}/"
        headers = {"Link": f'<{self.home or self.url}/{root}>; rel="https://api.w.org/"'}
        return web.Response(text="<html>Tienda de prueba</html>", content_type="text/html", headers=headers)

    async def _no_page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<html>Not Found</html>", content_type="text/html")

    async def _index(self, request: web.Request) -> web.StreamResponse:
        if self.has_plain_permalinks:  # seen on real shops: the front page, as no address means anything
            return self._front_page() if self.host.rewrites else await self._no_page(request)
        if self.blocks_rest:
            return problem_answer(Problem(401, "rest_login_required", "Only authenticated users."))
        return self._index_answer(request)

    def _index_answer(self, request: web.Request) -> web.StreamResponse:
        offset = self.zone.utcoffset(self.clock().replace(tzinfo=None)) or timedelta()
        hours = offset.total_seconds() / 3600
        index = {
            "name": "Tienda de prueba",
            "description": "",
            "url": self.home or self.url,
            "home": self.home or self.url,
            "gmt_offset": int(hours) if hours.is_integer() else hours,
            "timezone_string": self.world.seed.time_zone if self.names_time_zone else "",
            "namespaces": _NAMESPACES if self.has_woocommerce else ["oembed/1.0", "wp/v2"],
            "authentication": [],
        }
        fields = request.query.get("_fields", "")
        return self.host.answered(_json(only(index, fields) if fields else index), request)

    def _system_status(self, request: web.Request) -> web.Response:
        """Of what is a long report really, what tells which shop it is, and which version."""
        environment = {"home_url": self.home or self.url, "site_url": self.home or self.url}
        if self.store_id is not None:
            environment["store_id"] = self.store_id
        status = {"environment": {**environment, "version": self.version, "wp_version": "7.0.4"}}
        fields = request.query.get("_fields", "")
        return _json(only(status, fields) if fields else status)

    def _setting(self, request: web.Request) -> web.Response:
        """Of the shop's settings only whether coupons are enabled."""
        value = "yes" if self.enables_coupons else "no"
        name = "woocommerce_enable_coupons"
        shown = {"id": name, "label": "Enable coupons", "type": "checkbox", "default": "yes", "value": value}
        return _json({**shown, "group_id": "general"})

    def _currency(self, request: web.Request) -> web.Response:
        code = self.world.seed.currency
        root = f"{self.url}/{self.rest_prefix}/wc/v3/data/currencies"
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
        people: Sequence[Person] = self.accounts
        if request.query.get("role") == "all":
            people = [self.administrator, *people]
        email = request.query.get("email")
        if email is not None:
            people = [person for person in people if person.email.lower() == email.lower()]
        if request.query.get("orderby", "name") == "name":
            people = sorted(people, key=lambda person: person.name)
        if request.query.get("order", "asc") == "desc":
            people = people[::-1]
        return self._page(request, people, self._customer_text)

    def _customer_text(self, person: Person, fields: str) -> bytes:
        kept = self.rendered_customers.setdefault(fields, {}) if self.prerendered else {}
        if person not in kept:
            kept[person] = _text(self.customer(FIRST_CUSTOMER + person.number), fields)
        return kept[person]

    def _get_customers(self, request: web.Request) -> web.Response:
        return _json(self.customer(int(request.match_info["id"])))

    async def _update_customer(self, request: web.Request) -> web.Response:
        """Of a customer only `meta_data` is written."""
        number = int(request.match_info["id"])
        self.write_customer_meta(number, (await _body(request)).get("meta_data", []))
        return _json(self.customer(number))

    def _list_orders(self, request: web.Request) -> web.Response:
        return self._page(request, self.orders.view(request.query), self.orders.text)

    def _get_orders(self, request: web.Request) -> web.Response:
        return _json(self.orders.json(self.orders.index(request.match_info["id"])))

    def _list_catalogue(self, listed: Callable[[], list[Json]], request: web.Request) -> web.Response:
        wanted = request.query.get("include")
        numbers = {int(number) for number in wanted.split(",")} if wanted else None
        found = [item for item in listed() if numbers is None or item["id"] in numbers]
        return self._page(request, found, _text)

    def _get_catalogue(self, one: Callable[[int], Json], request: web.Request) -> web.Response:
        item, fields = one(int(request.match_info["id"])), request.query.get("_fields", "")
        return _json(only(item, fields) if fields else item)

    # -- coupons -----------------------------------------------------------------------------------------------------

    def _list_coupons(self, request: web.Request) -> web.Response:
        query = request.query
        found = [coupon for coupon in self.coupons.by_id.values() if coupon.fields["status"] == "publish"]
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
        return _json(answer or [])  # to PHP, nothing by name is an empty list

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
