"""The HTTP side of the stand-in for Stripe: routes, keys, idempotency, lists and error bodies."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from sandbox.stripe_access import Access, OAuthRefusal
from sandbox.stripe_account import Account
from sandbox.stripe_endpoints import EndpointRow, Endpoints
from sandbox.stripe_objects import Json, Row
from sandbox.stripe_shelf import Shelf, StripeRefusal, boolean, check_names, expansions, form, nested

Params = dict[str, Any]
Keep = Callable[[Any], bool] | None

_PRERENDERED = {"/v1/customers", "/v1/charges", "/v1/checkout/sessions", "/v1/refunds"}


class Api:
    """Answers for one account. `cut_after_writing`: so many writes are done whose answer gets lost."""

    def __init__(self, account: Account, access: Access, *, prerendered: bool) -> None:
        self.account = account
        self.access = access
        self.cut_after_writing = 0
        self._prerendered = prerendered
        self._pages: dict[str, bytes] = {}
        self._replays: dict[str, tuple[str, int, bytes]] = {}
        self._request_numbers = itertools.count(1)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        account = self.account
        router.add_get("/v1/account", self._reader(lambda _: account.show()))
        self._add_list(router, "/v1/customers", account.customers, {"email"})
        self._add_list(router, "/v1/charges", account.charges, {"customer", "payment_intent"})
        self._add_list(
            router, "/v1/checkout/sessions", account.sessions, {"customer", "payment_intent", "status"}
        )
        self._add_list(router, "/v1/refunds", account.refunds, {"charge", "payment_intent"})
        self._add_list(router, "/v1/coupons", account.coupons, set())
        self._add_list(router, "/v1/events", account.events, {"type", "types", "delivery_success"})
        self._add_list(router, "/v1/invoices", account.invoices, {"customer", "status"})
        self._add_list(router, "/v1/disputes", account.disputes, {"charge", "payment_intent"})
        self._add_list(router, "/v1/products", account.products, set())
        self._add_list(router, "/v1/promotion_codes", account.codes, {"active", "code", "coupon", "customer"})
        self._add_writes(router)
        router.add_get("/oauth/v2/authorize", self._authorize)
        router.add_post("/v1/oauth/token", self._token)

    def _add_list(self, router: web.UrlDispatcher, path: str, shelf: Shelf[Any], filters: set[str]) -> None:
        param = {"/v1/checkout/sessions": "checkout_session"}.get(path, path[4:-1])
        router.add_get(path, self._lister(shelf, filters))
        router.add_get(
            path + "/{id}", self._reader(lambda request: shelf.get(request.match_info["id"], param))
        )

    def _add_writes(self, router: web.UrlDispatcher) -> None:
        account = self.account
        writes: dict[tuple[str, str], Callable[[str, Params, str], Row | Json]] = {
            ("POST", "/v1/customers"): lambda _, p, r: account.create_customer(p, r),
            ("POST", "/v1/customers/{id}"): lambda i, p, r: account.update_customer(i, p, r),
            ("DELETE", "/v1/customers/{id}"): lambda i, _, r: account.delete_customer(i, r),
            ("POST", "/v1/coupons"): lambda _, p, r: account.create_coupon(p, r),
            ("POST", "/v1/coupons/{id}"): lambda i, p, r: account.update_coupon(i, p, r),
            ("DELETE", "/v1/coupons/{id}"): lambda i, _, r: account.delete_coupon(i, r),
            ("POST", "/v1/promotion_codes"): lambda _, p, r: account.create_code(p, r),
            ("POST", "/v1/promotion_codes/{id}"): lambda i, p, r: account.update_code(i, p, r),
        }
        for (method, path), act in writes.items():
            router.add_route(method, path, self._writer(act))
        self._add_endpoints(router)

    def _add_endpoints(self, router: web.UrlDispatcher) -> None:
        """Webhook endpoints are the account's, or the developer's who asks with the key of theirs."""
        path = "/v1/webhook_endpoints"

        def whose(request: web.Request) -> Endpoints:
            app = self.access.app
            return app.endpoints if app and self.access.is_developer(request) else self.account.endpoints

        async def lister(request: web.Request) -> web.StreamResponse:
            answer: web.StreamResponse = await self._lister(whose(request), set())(request)
            return answer

        def writer(act: Callable[[Endpoints, str, Params], Row | Json]) -> Callable[..., Any]:
            async def handle(request: web.Request) -> web.StreamResponse:
                write = self._writer(lambda i, p, _: act(whose(request), i, p))
                answer: web.StreamResponse = await write(request)
                return answer

            return handle

        router.add_get(path, lister)
        router.add_get(
            path + "/{id}",
            self._reader(lambda request: whose(request).get(request.match_info["id"], "webhook_endpoint")),
        )
        router.add_post(path, writer(lambda shelf, _, p: _with_secret(shelf.create(p))))
        router.add_post(path + "/{id}", writer(lambda shelf, i, p: shelf.update(i, p)))
        router.add_delete(path + "/{id}", writer(lambda shelf, i, _: shelf.delete(i)))

    def forget_idempotency_keys(self) -> None:
        """As Stripe does after a day."""
        self._replays.clear()

    def mistake_idempotency_keys(self) -> None:
        """As if each key had been used before with other parameters."""
        self._replays = {key: ("another", status, body) for key, (_, status, body) in self._replays.items()}

    # -- reading -----------------------------------------------------------------------------------------------------

    def _reader(self, find: Callable[[web.Request], Row | Json]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            def answer() -> bytes:
                params = nested(request.query.items())
                check_names(params, set())
                return self._dump(find(request), expansions(params))

            return self._answer(request, answer)

        return handle

    def _lister(self, shelf: Shelf[Any], filters: set[str]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            def answer() -> bytes:
                if not self._prerendered or request.path not in _PRERENDERED:
                    return self._page(request, shelf, filters)
                if request.path_qs not in self._pages:
                    self._pages[request.path_qs] = self._page(request, shelf, filters)
                return self._pages[request.path_qs]

            return self._answer(request, answer)

        return handle

    def _page(self, request: web.Request, shelf: Shelf[Any], filters: set[str]) -> bytes:
        params = nested(_pairs(request))
        check_names(params, filters, is_list=True)
        if "code" in params:
            shelf = Shelf(self.account.codes_by_text.get(str(params["code"]).lower(), ()))
        rows, has_more = shelf.page(params, self._keep(params, filters))
        expand = expansions(params, "data.")
        body = b",".join([self._json(self.account.shown(row, expand)) for row in rows])
        more = b"true" if has_more else b"false"
        return b'{"object":"list","data":[%b],"has_more":%b,"url":"%b"}' % (body, more, request.path.encode())

    def _keep(self, params: Params, filters: set[str]) -> Keep:
        """What the filters let through; None when there is nothing to ask."""
        wanted = {name: params[name] for name in filters & set(params) - {"code"}}
        if not wanted:
            return None
        now = self.account.now
        active = boolean(wanted, "active")

        def keep(row: Any) -> bool:
            for name, value in wanted.items():
                if name == "active":
                    held: Any = row.active(now) is active
                elif name == "coupon":
                    held = row.coupon.id == value
                elif name == "types":
                    held = row.type in value
                elif name == "delivery_success":
                    held = True
                else:
                    held = getattr(row, name) == value
                if not held:
                    return False
            return True

        return keep

    # -- OAuth -------------------------------------------------------------------------------------------------------

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        """The page on which a merchant agrees; here every visitor does."""
        try:
            raise web.HTTPFound(self.access.authorize(request.query))
        except StripeRefusal as refusal:
            return web.Response(status=refusal.status, text=str(refusal))

    async def _token(self, request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(self.access.token(request, form(await request.read())))
        except OAuthRefusal as refusal:
            error = {"error": refusal.word, "error_description": str(refusal)}
            return web.json_response(error, status=refusal.status)
        except StripeRefusal as refusal:
            return web.json_response({"error": refusal.error}, status=refusal.status)

    # -- writing -----------------------------------------------------------------------------------------------------

    def _writer(self, act: Callable[[str, Params, str], Row | Json]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            number = f"req_Sbx{next(self._request_numbers):010d}"

            def answer() -> bytes:
                params = form(body)
                made = act(request.match_info.get("id", ""), params, number)
                return self._dump(made, expansions(params))

            response = self._answer(request, answer, body)
            if self.cut_after_writing > 0:
                self.cut_after_writing -= 1
                assert request.transport is not None
                request.transport.abort()
            return response

        return handle

    def _answer(
        self, request: web.Request, answer: Callable[[], bytes], body: bytes | None = None
    ) -> web.Response:
        """Checks the key, replays or answers, and turns refusals into Stripe's error objects."""
        headers = {
            "Request-Id": f"req_Sbx{next(self._request_numbers):010d}",
            "Stripe-Version": "2026-10-28.endive",
        }
        try:
            self.access.check(request)
            key = request.headers.get("Idempotency-Key") if body is not None else None
            if key is None:
                return _response(200, answer(), headers)
            fingerprint = hashlib.sha256(
                f"{request.method} {request.path} ".encode() + (body or b"")
            ).hexdigest()
            if key not in self._replays:
                self._replays[key] = (fingerprint, *_to_keep(answer))
                return _response(*self._replays[key][1:], headers)
            if self._replays[key][0] != fingerprint:
                raise StripeRefusal(
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                    type="idempotency_error",
                )
            return _response(
                self._replays[key][1], self._replays[key][2], {**headers, "Idempotent-Replayed": "true"}
            )
        except StripeRefusal as refusal:
            return _response(refusal.status, _json({"error": refusal.error}), headers)

    def _dump(self, made: Row | Json, expand: frozenset[str]) -> bytes:
        return self._json(self.account.shown(made, expand) if isinstance(made, Row) else made)

    def _json(self, value: Json) -> bytes:
        """An object as it is sent; rows are written for test mode."""
        body = _json(value)
        return body.replace(b'"livemode":false', b'"livemode":true') if self.account.is_live else body


def _to_keep(answer: Callable[[], bytes]) -> tuple[int, bytes]:
    """Status and body that are replayed for the key. Raises a refusal that comes before anything is done, and is not."""
    try:
        return 200, answer()
    except StripeRefusal as refusal:
        if not refusal.is_kept:
            raise
        return refusal.status, _json({"error": refusal.error})


def _with_secret(endpoint: EndpointRow) -> Json:
    """Only the answer to the creation tells the secret."""
    return {**endpoint.show(), "secret": endpoint.secret}


def _pairs(request: web.Request) -> list[tuple[str, str]]:
    return list(request.query.items())


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
