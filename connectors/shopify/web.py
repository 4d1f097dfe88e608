"""Installing from the App Store: the pages that Shopify's admin shows in its frame.

Shopify installs the app without asking us, so the first verified request of a shop without access is the install: its ID
token is exchanged for an access token. A request without a good ID token goes over the bounce page, which loads nothing
but App Bridge; that comes back with a fresh one. Sources: shopify.dev, "token exchange", "app home", "iframe protection".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from connectors.base import Installation, Secret
from connectors.shopify.access import app_secrets, base_url
from connectors.shopify.grants import StaleIdTokenError, TokenDesk
from connectors.shopify.id_tokens import InvalidIdTokenError, Merchant, merchant_of, signed_shop
from connectors.shopify.permissions import ORDERS_SEEN
from connectors.shopify.shop import shop_domain
from connectors.shopify.subscriptions import BY_APP, is_by_app
from connectors.shopify.values import PERMISSIONS_PAGE
from connectors.web import Plain, Redirect, Site, StoreSummary, WebAnswer, WebPage, WebRequest

APP_BRIDGE = "https://cdn.shopify.com/shopifycloud/app-bridge.js"
RETRY = {"X-Shopify-Retry-Invalid-Session-Request": "1"}
_HOME = "/install/shopify"
_BOUNCE = "bounce"
_RELOAD, _PROOF = "shopify-reload", "frame"

_READING = (
    "Your customers, discounts and orders are being read now. That goes on by itself: you can close this page.",
    "Reading gives nobody any points or codes; what is given for the past is yours to decide afterwards.",
)
_OTHER_APP = (
    "This shop is connected with Perennial by an app of its own, which goes on as it is. Nothing was changed.",
    "You can uninstall this app. Or, to go on with this one, uninstall the shop's own app and open this page again: "
    "members, points and codes stay.",
)
_OPEN_IN_ADMIN = "Open Perennial in your shop's admin, under Apps."


@dataclass(frozen=True, slots=True)
class _App:
    """The operator's app."""

    client_id: Secret
    secrets: tuple[Secret, ...]
    api_base: str | None
    public_url: str


class ShopifyWeb:
    """The WebInstall of Shopify. Sets no cookies and asks for no shop's name."""

    async def handle(self, request: WebRequest, site: Site) -> WebAnswer:
        """The app's page and the bounce page."""
        app = _app(site)
        if app is None:
            return WebPage(
                "Not set up yet",
                (
                    "Whoever runs this server has to set PERENNIAL_PUBLIC_URL, PERENNIAL_APPS__SHOPIFY__CLIENT_ID and "
                    "PERENNIAL_APPS__SHOPIFY__CLIENT_SECRET first.",
                ),
                status=503,
            )
        if request.path == _BOUNCE:
            return _bounce_page(request, app)
        if request.path:
            return Plain(404, "There is no such page.")
        return await self._home(request, site, app)

    def frame_of(self, request: WebRequest, site: Site) -> Sequence[str]:
        """The admin of the shop whose ID token came with the request."""
        app = _app(site)
        try:
            merchant = None if app is None else merchant_of(_id_token(request), app.client_id, app.secrets)
        except InvalidIdTokenError:
            return ()
        return () if merchant is None else _admin_of(merchant.shop)

    async def _home(self, request: WebRequest, site: Site, app: _App) -> WebAnswer:
        try:
            merchant = merchant_of(_id_token(request), app.client_id, app.secrets)
            store = await site.store(merchant.shop)
            if store is None or store.status != "active":
                store = await _install(merchant, site, app)
            elif not is_by_app(store.settings, app.client_id):
                return _framed("Perennial is here already", _OTHER_APP, merchant.shop, app)
        except (InvalidIdTokenError, StaleIdTokenError):
            if "authorization" in request.headers or request.method != "GET":
                return Plain(401, "The ID token is not good (any more).", headers=RETRY)
            return _to_bounce(request, app)
        return _result(store, merchant, app)


async def _install(merchant: Merchant, site: Site, app: _App) -> StoreSummary:
    """Raises StaleIdTokenError and what a platform or the database raises; until all is well nothing is stored."""
    desk = TokenDesk(base_url(merchant.shop, app.api_base), app.client_id, app.secrets, site.session)
    installation = Installation(
        external_id=merchant.shop,
        credentials=await desk.exchanged(merchant.id_token, site.clock()),
        api_base=app.api_base,
        webhook_secrets=app.secrets,
        settings=BY_APP,
    )
    return await site.install(installation)


def _result(store: StoreSummary, merchant: Merchant, app: _App) -> WebPage:
    told = [f"{store.name} is connected.", *(_READING if store.is_new else ())]
    if store.notes:
        told += ["What you should know:", *store.notes]
    elif not store.is_new:
        told.append("Everything that Perennial needs is there.")
    return replace(_framed("Perennial", told, merchant.shop, app), links=_grants(store.settings))


def _grants(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Where the merchant can let us see more, leaving the frame."""
    page = settings.get(PERMISSIONS_PAGE)
    if page is None or settings.get(ORDERS_SEEN) != "recent":
        return {}
    return {"Let Perennial read orders older than 60 days": f"{page}&optional_scopes=read_all_orders"}


def _bounce_page(request: WebRequest, app: _App) -> WebAnswer:
    """App Bridge loads what `shopify-reload` says, with a fresh ID token added: never another site's address."""
    home, wanted = f"{app.public_url}{_HOME}", request.query.get(_RELOAD, "")
    if wanted != home and not wanted.startswith(f"{home}?"):
        return Plain(400, "This page leads back to Perennial only.")
    shop = shop_domain(request.query.get("shop", ""))
    given = request.query.get(_PROOF, "").encode()
    is_proven = any(hmac.compare_digest(_proof(shop, secret), given) for secret in app.secrets)
    return _framed("Perennial", [_OPEN_IN_ADMIN], shop if is_proven else None, app)


def _to_bounce(request: WebRequest, app: _App) -> Redirect:
    query = {name: text for name, text in request.query.items() if name not in ("id_token", _RELOAD, _PROOF)}
    plain = urlencode(query)
    query[_RELOAD] = f"{app.public_url}{_HOME}" + (f"?{plain}" if plain else "")
    if (shop := signed_shop(request.raw_query, app.secrets)) is not None:
        # The link's own signature covers the ID token, which does not come along.
        query |= {"shop": shop, _PROOF: _proof(shop, app.secrets[0]).decode()}
    return Redirect(f"{_HOME}/{_BOUNCE}?{urlencode(query)}")


def _framed(title: str, lines: Sequence[str], shop: str | None, app: _App) -> WebPage:
    """A page with App Bridge as its first script, in the frame of this shop's admin; without a shop in nobody's."""
    return WebPage(
        title,
        lines,
        frame_ancestors=_admin_of(shop) if shop else (),
        scripts=(APP_BRIDGE,),
        meta={"shopify-api-key": app.client_id.reveal()},
    )


def _proof(shop: str | None, secret: Secret) -> bytes:
    return (
        hmac.new(secret.reveal().encode(), f"frame of {shop}".encode(), hashlib.sha256).hexdigest().encode()
    )


def _admin_of(shop: str) -> tuple[str, ...]:
    return f"https://{shop}", "https://admin.shopify.com"


def _id_token(request: WebRequest) -> str:
    """What a script sends in the header, or what the admin puts into the address."""
    authorization = request.headers.get("authorization")
    return request.query.get("id_token", "") if authorization is None else _bearer(authorization)


def _bearer(authorization: str) -> str:
    kind, _, token = authorization.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _app(site: Site) -> _App | None:
    given: Mapping[str, Secret] = site.app
    client_id, secrets = given.get("client_id"), app_secrets(given)
    if not client_id or not secrets or site.public_url is None:
        return None
    api_base = given.get("api_base")
    return _App(client_id, secrets, api_base.reveal() if api_base else None, site.public_url)
