"""A stand-in for Stripe: one account in test mode with a made-up shop, its checkout, and signed webhooks.

Speaks what the app uses of API 2026-10-28.endive. Sources: Stripe's OpenAPI document, docs.stripe.com/api,
docs.stripe.com/rate-limits, docs.stripe.com/webhooks. What Stripe leaves open is decided as it must be for a shop to
work: a code bound to a customer needs a session opened with that customer, and `times_redeemed` grows when the session
completes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web

from sandbox.server import Post, Sandbox
from sandbox.stripe_access import Access, App, Key
from sandbox.stripe_account import Account
from sandbox.stripe_api import Api
from sandbox.stripe_coupons import CodeRow
from sandbox.stripe_destinations import Destinations
from sandbox.stripe_endpoints import EndpointRow, Endpoints
from sandbox.stripe_limits import Limiter, refusal
from sandbox.stripe_objects import EventRow
from sandbox.stripe_seed import birthday_text
from sandbox.stripe_till import Till
from sandbox.world import EarningRule, Person, World

_POSTED = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0"}
_OURS = "perennial_"  # how the metadata of what the app made starts


class StripeSandbox(Sandbox):
    """Stripe for one account in one mode. `prerendered` keeps each page of history as bytes, for shops that do not change.

    `requests_per_second` is the limit on everything; with a live key each endpoint has a limit of its own beside it.
    """

    platform = "stripe"
    base_is_total = True  # a charge knows neither tax nor shipping, so points count on all of it
    webhook_retries = 3  # as in a sandbox of Stripe's own

    def __init__(
        self,
        world: World,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        requests_per_second: int | None = None,
        prerendered: bool = False,
        mode: str = "test",
    ) -> None:
        world.base_is_total = self.base_is_total
        super().__init__(world, clock=clock)
        self.account = Account(world, lambda: self.clock(), self._send)
        self.account.is_live = mode == "live"
        self.key = f"rk_{mode}_sandbox{world.seed.number:08d}"
        self.access = Access(self.account.id, {self.key: Key()}, lambda: self.clock(), mode=mode)
        self.api = Api(self.account, self.access, prerendered=prerendered)
        self.till = Till(self.account, self._count_redemption)
        self.destinations = Destinations(self.access, lambda: self.clock(), self._post_thin)
        self.throttled_as = "global-rate"
        live = (100, 25) if mode == "live" else (25, None)
        self.limiter = Limiter(requests_per_second or live[0], live[1])
        self.requests_refused = 0  # for coming too fast
        self.hooks.resign = self._signed

    @property
    def connect_endpoints(self) -> list[EndpointRow]:
        """Of the developer whose app the account can install: they hear of all accounts that did."""
        app = self.access.app
        return [each for each in app.endpoints if each.hears_connected] if app else []

    @property
    def requests_per_second(self) -> int:
        """The limit on everything."""
        return self.limiter.in_all

    @requests_per_second.setter
    def requests_per_second(self, value: int) -> None:
        self.limiter.in_all = value

    def add_routes(self, router: web.UrlDispatcher) -> None:
        self.api.add_routes(router)
        self.destinations.add_routes(router)

    def connect_answers(self) -> dict[str, str]:
        return {"api-key": self.key, "api-base": self.url}

    def codes_in_store(self) -> int:
        now = self.account.now
        return sum(
            1
            for code in self.account.codes
            if any(key.startswith(_OURS) for key in code.metadata)
            and (code.times_redeemed > 0 or code.active(now))
        )

    def books(self, rule: EarningRule, birthday_lead: int, joining_lead: int) -> dict[str, object]:
        """An order that was never paid is only a declined charge here: neither it nor who tried it is an order."""
        sales = [sale for sale in self.world.sales if sale.in_history and sale.paid_at]
        guests = {sale.person.number for sale in sales if sale.person.is_guest}
        counted = super().books(rule, birthday_lead, joining_lead)
        asked = {"requests": self.requests, "requests_refused": self.requests_refused}
        return {**counted, "orders": len(sales), "guests": len(guests), **asked}

    # -- limits and refusals -----------------------------------------------------------------------------------------

    def too_fast(self, request: web.Request) -> web.Response | None:
        """Stripe's limits on requests in any second."""
        reason = self.limiter.reason(request.method, request.path)
        if reason is None:
            return None
        self.requests_refused += 1
        return refusal(reason)

    def give_up_webhooks(self) -> None:
        """Disables every endpoint and destination."""
        for endpoint in [*self.account.endpoints, *self.destinations.rows]:
            endpoint.status = "disabled"

    def throttled(self) -> web.Response:
        return refusal(self.throttled_as)

    def refused_credentials(self) -> web.Response:
        error = {
            "message": "Expired API Key provided",
            "type": "invalid_request_error",
            "code": "api_key_expired",
        }
        return web.json_response({"error": error}, status=401)

    # -- webhooks ----------------------------------------------------------------------------------------------------

    def _send(self, event: EventRow) -> None:
        """Posts an event to every endpoint that asked for its kind, in the endpoint's version."""
        own = [endpoint for endpoint in self.account.endpoints if endpoint.wants(event.type)]
        app = self.access.app
        apps = [e for e in self.connect_endpoints if app and app.is_installed and e.wants(event.type)]
        for endpoint in own + apps:
            self._post(
                endpoint, event, pending=len(own), account=self.account.id if endpoint in apps else None
            )

    def _post(
        self,
        endpoint: EndpointRow,
        event: EventRow,
        *,
        pending: int,
        account: str | None,
        is_live: bool | None = None,
    ) -> None:
        """One post; those to a developer's Connect endpoint say whose event it is."""
        shown = event.show(api_version=endpoint.api_version or "2026-10-28.endive", pending=pending)
        if account is not None:
            shown["account"] = account
        text = json.dumps(shown, indent=2)
        if self.account.is_live if is_live is None else is_live:
            text = text.replace('"livemode": false', '"livemode": true')
        self.hooks.send(self._signed(Post(endpoint.url, _POSTED, text.encode(), event.id)))

    def _post_thin(self, url: str, body: bytes, event_id: str) -> None:
        """One post of a thin event."""
        self.hooks.send(self._signed(Post(url, _POSTED, body, event_id)))

    def _signed(self, post: Post) -> Post:
        """The post with a signature of this moment, by every live secret of what posts there: a destination or endpoint."""
        at = str(int(self.clock().timestamp()))
        if b'"v2.core.event"' in post.body:
            secrets = self.destinations.secrets_of(post.url)
        else:
            there = [e for e in [*self.account.endpoints, *self.connect_endpoints] if e.url == post.url]
            secrets = [secret for endpoint in there for secret in (endpoint.secret, *endpoint.old_secrets)]
        parts = [f"t={at}"]
        for secret in secrets:
            digest = hmac.new(secret.encode(), f"{at}.".encode() + post.body, hashlib.sha256)
            parts.append("v1=" + digest.hexdigest())
        return replace(post, headers={**post.headers, "Stripe-Signature": ",".join(parts)})

    # -- a Stripe App of somebody else's -----------------------------------------------------------------------------

    def offer_app(
        self, redirect_uri: str, events_to: str | None = None, topics: Sequence[str] = ("*",)
    ) -> App:
        """A developer has an app that this account can install, with one Connect endpoint for all who do."""
        endpoints = Endpoints(lambda: self.account.now, lambda: self.account.is_live, "we_1Connect")
        client_id = f"ca_Sbx{self.account.id[-8:]}"
        app = App(client_id, f"sk_{self.access.mode}_developer", (redirect_uri,), endpoints)
        self.access.app = app
        if events_to is not None:
            version = "2026-10-28.endive"
            asked = {"url": events_to, "enabled_events": topics, "api_version": version, "connect": "true"}
            endpoints.create(asked)
        return app

    def stray(self, event: EventRow, *, account: str | None = None, is_live: bool | None = None) -> None:
        """Posts an event to the Connect endpoints as another account's, or as one of the other mode: both happen."""
        for endpoint in self.connect_endpoints:
            self._post(endpoint, event, pending=1, account=account or self.account.id, is_live=is_live)

    def uninstall_app(self) -> None:
        """The merchant takes the app out in the Dashboard."""
        event = self.account.make_event(
            "account.application.deauthorized",
            {"id": self.access.client_id, "object": "application", "name": "Perennial"},
        )
        for endpoint in self.connect_endpoints:
            self._post(endpoint, event, pending=1, account=self.account.id)
        self.access.uninstall()

    # -- the shop ----------------------------------------------------------------------------------------------------

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        return self.till.place_order(body)

    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None = None) -> str:
        """The shop makes a Customer of somebody, with the birthday where the app reads it."""
        now = datetime.fromtimestamp(self.account.now, UTC)
        self.world.people.append(Person(len(self.world.people), name, email, now, birthday))
        metadata = {"birthday": birthday_text(birthday)} if birthday else {}
        return self.account.create_customer({"name": name, "email": email, "metadata": metadata}).id

    def refund_order(self, order: str, total_minor: int) -> None:
        self.till.refund(order, total_minor)

    def cancel_order(self, order: str) -> None:
        """A full refund: Stripe cancels nothing that is paid."""
        self.till.refund(order, None)

    def fail_refund(self, refund_id: str) -> None:
        """The bank sends a refund back: the customer has kept the purchase and paid for it."""
        refund = self.account.refunds.get(refund_id, "refund")
        refund.status = "failed"
        self.account.tell("refund.failed", refund)

    def _count_redemption(self, code: CodeRow) -> None:
        self.redemptions += 1
        if code.is_used_up:
            self.destinations.tell("v1.promotion_code.fully_redeemed", code)
