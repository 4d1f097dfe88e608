"""A stand-in of Shopify's Admin API 2026-10 with one made-up shop.

GraphQL over a cut-out of the official schema, bulk operations with files, the cost limiter, installing with its ID tokens
and the token endpoint, webhooks as Shopify signs and repeats them, discounts and a checkout that holds their rules.
A checkout below a discount's minimum is refused as "minimum_not_met", beside the four reasons of `sandbox.server`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.server import Sandbox
from sandbox.shopify_access import (
    PERSONAL,
    PHONES,
    access_denied,
    root_fields,
    without_people,
    without_people_in_posts,
)
from sandbox.shopify_admin import Admin
from sandbox.shopify_bodies import Bodies
from sandbox.shopify_bulk import BulkDesk, Operation, Rendered, file_signature
from sandbox.shopify_cards import CardDesk
from sandbox.shopify_checkout import Till
from sandbox.shopify_codes import CodeDesk
from sandbox.shopify_credit import CreditDesk
from sandbox.shopify_discount_views import DiscountViews
from sandbox.shopify_discounts import DiscountBook
from sandbox.shopify_graphql import Bucket, answer, throttled_answer
from sandbox.shopify_hooks import HookDesk
from sandbox.shopify_oauth import DeniedError, OAuthDesk
from sandbox.shopify_root import Root
from sandbox.shopify_views import Views, customer_number, phone_of
from sandbox.world import EarningRule, World

API_VERSION = "2026-10"
CLIENT_ID = "5a9d0c1e7b3f4a62980d1c2b3a4f5e6d"
CLIENT_SECRET = "shpss_sandbox_0123456789abcdef0123456789"
ADMIN_TOKEN = "shpat_sandbox_0123456789abcdef"
_SCOPES = (
    "write_customers,read_customer_merge,read_orders,read_all_orders,write_discounts,read_products,"
    "write_gift_cards,read_store_credit_accounts,write_store_credit_account_transactions"
)


class ShopifySandbox(Sandbox):
    """The shop `shop`; an installation, the app's client id and secret, and an admin-made token open it.

    `answered_version`: the version that answers say, as when the asked one is retired. `closed_with`: the status of a
    shop that Shopify has closed (402, 403, 423). `people_shown`: False without protected customer data level 2, and
    `phones_shown` without its field phone; then an export that asks for them fails, or with `people_in_bulk` "null"
    holds nothing in their place. `unanswered`: how many requests for a root field are run, and then cut instead of
    answered.
    """

    platform = "shopify"
    webhook_retries = 8

    def __init__(
        self,
        world: World,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        shop: str | None = None,
        client_secret: str = CLIENT_SECRET,
        points_per_second: float = 100.0,
    ) -> None:
        super().__init__(world, clock=clock)
        self.shop = shop or f"sandbox-{world.seed.number}.myshopify.com"
        self.client_secret = client_secret
        self.bucket = Bucket(20 * points_per_second, points_per_second)  # as all plans have it
        now = self._now
        self.oauth = OAuthDesk(self.shop, CLIENT_ID, [client_secret], _SCOPES.split(","), now)
        self.views = Views(world.seed, self.shop)
        self.discount_views = DiscountViews(self.views, now)
        self.bodies = Bodies(self.views, now)
        self.discounts = DiscountBook(world.seed.now)
        self.customers = {customer_number(p): p for p in world.people if not p.is_guest}
        self.hook_desk = HookDesk(
            self.hooks,
            self.shop,
            client_secret,
            API_VERSION,
            now,
            shows=lambda body: without_people_in_posts(body, self.hidden_fields),
        )
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-shopify-", ignore_cleanup_errors=True)
        self.code_desk = CodeDesk(self)
        self.cards = CardDesk(self)
        self.credit = CreditDesk(self)
        self.root = Root(self)
        self.bulk = BulkDesk(
            Path(self._folder.name),
            self.root.bulk_sources(),
            now,
            self._bulk_finished,
            lambda: self.till.version,
            lambda: (self.hidden_fields, self.people_in_bulk),
        )
        self.till = Till(self)
        self.admin = Admin(self)
        self.answered_version = API_VERSION
        self.closed_with: int | None = None
        self.people_shown = self.phones_shown = True
        self.people_in_bulk = "fail"
        self.unanswered: Counter[str] = Counter()

    # -- what the base asks for --------------------------------------------------------------------------------------

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """GraphQL, tokens and the files of bulk operations."""
        router.add_post("/admin/api/{version}/graphql.json", self._graphql)
        router.add_post("/admin/oauth/access_token", self._token)
        router.add_get("/bulk-results/{number}", self._bulk_file)

    def connect_answers(self) -> dict[str, str]:
        """The flags of `perennial connect shopify`."""
        return {
            "shop": self.shop,
            "client-id": CLIENT_ID,
            "client-secret": self.client_secret,
            "api-base": self.url,
        }

    def codes_in_store(self) -> int:
        """Codes that the app made through the API; a discount's first does not count where a job added others."""
        made = [discount for discount in self.discounts if discount.by_app]
        return sum(max(1, sum(redeem.added for redeem in found.codes.values())) for found in made)

    def books(self, rule: EarningRule, birthday_lead: int, joining_lead: int) -> dict[str, object]:
        """The shop's own figures, how many requests it has had and refused for want of points, and the points."""
        figures = super().books(rule, birthday_lead, joining_lead)
        figures |= {"requests": self.requests, "requests_refused": self.bucket.refused}
        points = {"points_spent": self.bucket.spent, "points_left": self.bucket.level}
        return figures | points | {"points_most": self.bucket.maximum}

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """A checkout, see `sandbox.server`."""
        return self.till.checkout(body)

    def refund_order(self, order: str, total_minor: int) -> None:
        """Repays a part of an order."""
        self.till.refund(order, total_minor)

    def cancel_order(self, order: str) -> None:
        """Cancels without repaying; Shopify does not give a used code back."""
        self.till.cancel(order)

    def give_up_webhooks(self) -> None:
        """Deletes the subscriptions made through the API."""
        self.hook_desk.forget_all()

    def throttled(self) -> web.Response:
        """THROTTLED arrives with HTTP 200."""
        return web.json_response(throttled_answer(self.bucket, 10.0))

    def refused_credentials(self) -> web.Response:
        """What a dead token gets."""
        text = "[API] Invalid API key or access token (unrecognized login or wrong password)"
        return web.json_response({"errors": text}, status=401)

    async def stop(self) -> None:
        """Closes the server and removes the bulk files."""
        await self.bulk.close()
        await self.code_desk.close()
        await super().stop()
        self._folder.cleanup()

    # -- beyond the base ---------------------------------------------------------------------------------------------

    async def render_beforehand(self, bulk_query: str) -> Rendered:
        """Writes the file of a bulk query now, so that a benchmark does not measure the writing."""
        return await self.bulk.render(bulk_query)

    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None = None) -> str:
        """Somebody becomes a customer; the number of their record. Sends the webhook."""
        return self.till.sign_up(name, email, birthday)

    def expire_tokens(self) -> None:
        """All granted access tokens end now."""
        self.oauth.expire()

    def uninstall(self) -> None:
        """The merchant takes the app out: tokens die at once, then the webhook goes out."""
        self.oauth.uninstall()
        self.hook_desk.emit("app/uninstalled", lambda _: {"id": 61_000_000_001, "domain": self.shop})
        self.hook_desk.forget_all()

    def install_again(self) -> None:
        """The merchant puts the app in once more, from the App Store."""
        self.oauth.install()

    def rotate_secret(self, secret: str) -> None:
        """The operator makes a new client secret; the old one is accepted, but signs nothing any more."""
        self.oauth.client_secrets.insert(0, secret)
        self.client_secret = self.hook_desk.secret = secret

    def grant_scopes(self, *scopes: str) -> None:
        """The merchant grants or takes back permissions."""
        previous, self.oauth.scopes[:] = list(self.oauth.scopes), list(scopes)
        body = {
            "id": "gid://shopify/App/5",
            "previous": previous,
            "current": list(scopes),
            "updated_at": self.clock().isoformat(),
        }
        self.hook_desk.emit("app/scopes_update", lambda _: body)

    def ask_privacy(self, topic: str, customer: str) -> None:
        """Sends customers/data_request or customers/redact to the app's own address (`hook_desk.app_uri`)."""
        person = self.customers[customer]
        body = {
            "shop_id": 61_000_000_001,
            "shop_domain": self.shop,
            "customer": {"id": int(customer), "email": person.email, "phone": phone_of(person)},
        }
        self.hook_desk.emit(topic, lambda _: body)

    @property
    def hidden_fields(self) -> frozenset[str]:
        """What names people and is not shown to this app."""
        if not self.people_shown:
            return PERSONAL
        return frozenset() if self.phones_shown else PHONES

    def _now(self) -> datetime:
        """The clock as it is set now: it may be replaced while the shop is open."""
        return self.clock()

    # -- HTTP --------------------------------------------------------------------------------------------------------

    async def _graphql(self, request: web.Request) -> web.Response:
        token = request.headers.get("X-Shopify-Access-Token", "")
        if not (self.oauth.opens(token) or (token == ADMIN_TOKEN and self.oauth.is_installed)):
            return self.refused_credentials()
        if self.closed_with is not None:
            return web.json_response({"errors": "Unavailable Shop"}, status=self.closed_with)
        if request.match_info["version"] != API_VERSION:
            return web.json_response({"errors": "Not Found"}, status=404)
        asked = await request.json()
        query, variables = asked["query"], asked.get("variables") or {}
        refused = access_denied(query, self.oauth.scopes)
        body = refused or answer(query, variables, self.root.fields(), self.bucket, limited=self.limiter_on)
        if self.hidden_fields:
            body = without_people(body, self.hidden_fields)
        for name in root_fields(query):
            if self.unanswered[name] > 0:
                self.unanswered[name] -= 1
                assert request.transport is not None
                request.transport.abort()
        return web.json_response(body, headers={"X-Shopify-API-Version": self.answered_version})

    async def _token(self, request: web.Request) -> web.Response:
        is_json = request.content_type == "application/json"
        asked: Mapping[str, Any] = await request.json() if is_json else await request.post()
        if self.closed_with is not None:
            return web.json_response({"errors": "Unavailable Shop"}, status=self.closed_with)
        try:
            return web.json_response(self.oauth.answer(asked))
        except DeniedError as denied:
            if "application/json" not in request.headers.get("Accept", ""):
                page = f"<html><title>Oauth error {denied.error}</title></html>"
                return web.Response(status=400, text=page, content_type="text/html")
            return web.json_response({"error": denied.error}, status=400)

    async def _bulk_file(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        operation = self.bulk.operations.get(f"gid://shopify/BulkOperation/{number}")
        path = (operation.path or operation.partial_path) if operation else None
        if operation and operation.is_expired:
            return web.Response(status=403, text="<Error><Code>ExpiredToken</Code></Error>")
        if path is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        if request.query.get("Signature") != file_signature(number):
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        return web.FileResponse(path, headers={"Content-Type": "application/jsonl"})

    def _bulk_finished(self, operation: Operation) -> None:
        body = {
            "admin_graphql_api_id": operation.gid,
            "status": operation.status.lower(),
            "error_code": operation.error_code,
            "type": "query",
        }
        self.hook_desk.emit("bulk_operations/finish", lambda _: body)
