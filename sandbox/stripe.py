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

from sandbox.server import CheckoutRefused, Post, Sandbox
from sandbox.stripe_access import Access, App, Key
from sandbox.stripe_account import Account
from sandbox.stripe_api import Api
from sandbox.stripe_limits import Limiter, refusal
from sandbox.stripe_objects import (
    ChargeRow,
    CodeRow,
    CustomerRow,
    EndpointRow,
    EventRow,
    RefundRow,
    SessionRow,
)
from sandbox.stripe_seed import birthday_text
from sandbox.world import EarningRule, Person, World

_OURS = "perennial_"  # how the metadata of what the app made starts
_TAX_PERCENT = 21


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
        self.connect_endpoints: list[EndpointRow] = []  # of the developer whose app the account has installed
        self.throttled_as = "global-rate"
        live = (100, 25) if mode == "live" else (25, None)
        self.limiter = Limiter(requests_per_second or live[0], live[1])
        self.hooks.resign = self._signed

    @property
    def requests_per_second(self) -> int:
        """The limit on everything."""
        return self.limiter.in_all

    @requests_per_second.setter
    def requests_per_second(self, value: int) -> None:
        self.limiter.in_all = value

    def add_routes(self, router: web.UrlDispatcher) -> None:
        self.api.add_routes(router)

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
        return {**counted, "orders": len(sales), "guests": len(guests)}

    # -- limits and refusals -----------------------------------------------------------------------------------------

    def too_fast(self, request: web.Request) -> web.Response | None:
        """Stripe's limits on requests in any second."""
        reason = self.limiter.reason(request.method, request.path)
        return refusal(reason) if reason else None

    def give_up_webhooks(self) -> None:
        """Disables every endpoint."""
        for endpoint in self.account.endpoints:
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
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0"}
        self.hooks.send(self._signed(Post(endpoint.url, headers, text.encode(), event.id)))

    def _signed(self, post: Post) -> Post:
        """The post with a signature of this moment, by every live secret of its address."""
        at = str(int(self.clock().timestamp()))
        parts = [f"t={at}"]
        for endpoint in [*self.account.endpoints, *self.connect_endpoints]:
            if endpoint.url != post.url:
                continue
            for secret in (endpoint.secret, *endpoint.old_secrets):
                digest = hmac.new(secret.encode(), f"{at}.".encode() + post.body, hashlib.sha256)
                parts.append("v1=" + digest.hexdigest())
        return replace(post, headers={**post.headers, "Stripe-Signature": ",".join(parts)})

    # -- a Stripe App of somebody else's -----------------------------------------------------------------------------

    def offer_app(
        self, redirect_uri: str, events_to: str | None = None, topics: Sequence[str] = ("*",)
    ) -> App:
        """A developer has an app that this account can install, with one Connect endpoint for all who do."""
        app = App(f"ca_Sbx{self.account.id[-8:]}", f"sk_{self.access.mode}_developer", (redirect_uri,))
        self.access.app = app
        if events_to is not None:
            secret = "whsec_app" + hashlib.sha256(events_to.encode()).hexdigest()[:24]
            self.connect_endpoints.append(
                EndpointRow(
                    "we_1Connect", self.account.now, events_to, list(topics), "2026-10-28.endive", secret
                )
            )
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

    # -- the shop's checkout -----------------------------------------------------------------------------------------

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """A Checkout session from start to end; see `Sandbox`. An account's e-mail means that it signed in."""
        subtotal = int(str(body["subtotal_minor"]))
        text = str(body["code"]) if body.get("code") else None
        customer, email = self._shopper(body, text)
        code = self._usable_code(text, customer, subtotal) if text else None
        discount = code.coupon.off(subtotal) if code else 0
        session = self._complete(customer, email, subtotal, discount, code)
        if code:
            self._redeem(code)
        return {
            "order": session.payment_intent or session.id,
            "total_minor": session.total,
            "discount_minor": discount,
        }

    def _shopper(self, body: Mapping[str, object], text: str | None) -> tuple[CustomerRow | None, str]:
        """Who the session is opened for. Of somebody's several Customers the shop takes the one the code is for."""
        account = self.account
        if body.get("customer"):
            customer = account.customers.get(str(body["customer"]), "customer")
            return customer, customer.email or ""
        email = str(body["email"])
        known = account.customers_by_email.get(email.lower(), [])
        bound_to = {code.customer for code in account.codes_by_text.get((text or "").lower(), ())}
        return next((c for c in known if c.id in bound_to), known[0] if known else None), email

    def _usable_code(self, text: str, customer: CustomerRow | None, subtotal: int) -> CodeRow:
        """The code if Checkout takes it now. Raises CheckoutRefused."""
        now = self.account.now
        found = self.account.codes_by_text.get(text.lower(), [])
        if not found:
            raise CheckoutRefused("unknown_code")
        allowed = [
            code for code in found if code.customer is None or (customer and code.customer == customer.id)
        ]
        if not allowed:
            raise CheckoutRefused("wrong_customer")
        code = next((code for code in allowed if code.active(now)), allowed[-1])
        if code.is_used_up:
            raise CheckoutRefused("used_up")
        if code.is_expired(now):
            raise CheckoutRefused("expired")
        # Switched off, its coupon gone, or the basket too small: Checkout calls all of them invalid.
        if not code.active(now) or subtotal < (code.minimum_amount or 0):
            raise CheckoutRefused("unknown_code")
        return code

    def _complete(
        self, customer: CustomerRow | None, email: str, subtotal: int, discount: int, code: CodeRow | None
    ) -> SessionRow:
        account, now = self.account, self.account.now
        is_free = discount >= subtotal
        if is_free and customer is None:
            customer = account.create_customer(
                {"email": email}
            )  # as Checkout does for an order without payment
        session = SessionRow(
            account.new_id("cs_test_"),
            now,
            account.currency,
            customer.id if customer else None,
            email,
            None if is_free else account.new_id("pi_3"),
            subtotal,
            discount,
            tax=(subtotal - discount) * _TAX_PERCENT // 100,
            payment_status="no_payment_required" if is_free else "paid",
            promotion_code=code.id if code else None,
        )
        account.sessions.add(session)
        if not is_free:
            self._charge(session, customer)
        account.tell("checkout.session.completed", session)
        return session

    def _charge(self, session: SessionRow, customer: CustomerRow | None) -> None:
        account = self.account
        charge = ChargeRow(
            account.new_id("ch_3"),
            account.now,
            session.total,
            session.currency,
            session.customer,
            session.email,
            customer.name if customer else None,
            session.payment_intent,
        )
        account.charges.add(charge)
        account.charges_by_order[charge.payment_intent or charge.id] = charge
        account.tell("charge.succeeded", charge)

    def _redeem(self, code: CodeRow) -> None:
        code.times_redeemed += 1
        code.coupon.times_redeemed += 1
        self.redemptions += 1
        self.account.tell("promotion_code.updated", code)

    # -- people ------------------------------------------------------------------------------------------------------

    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None = None) -> str:
        """The shop makes a Customer of somebody, with the birthday where the app reads it."""
        now = datetime.fromtimestamp(self.account.now, UTC)
        self.world.people.append(Person(len(self.world.people), name, email, now, birthday))
        metadata = {"birthday": birthday_text(birthday)} if birthday else {}
        return self.account.create_customer({"name": name, "email": email, "metadata": metadata}).id

    # -- money back --------------------------------------------------------------------------------------------------

    def refund_order(self, order: str, total_minor: int) -> None:
        account = self.account
        charge = account.charges_by_order[order]
        refund = RefundRow(
            account.new_id("re_3"),
            account.now,
            min(total_minor, charge.amount - charge.refunded_minor),
            charge.currency,
            charge.id,
            charge.payment_intent,
            "succeeded",
        )
        charge.refunds.append(refund)
        account.refunds.add(refund)
        account.tell("refund.created", refund)
        account.tell("charge.refunded", charge)

    def cancel_order(self, order: str) -> None:
        """A full refund: Stripe cancels nothing that is paid."""
        charge = self.account.charges_by_order[order]
        self.refund_order(order, charge.amount - charge.refunded_minor)

    def fail_refund(self, refund_id: str) -> None:
        """The bank sends a refund back: the customer has kept the purchase and paid for it."""
        refund = self.account.refunds.get(refund_id, "refund")
        refund.status = "failed"
        self.account.tell("refund.failed", refund)
