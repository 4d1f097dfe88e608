"""Who may ask the stand-in for Stripe what: API keys and their permissions, and Stripe Apps' OAuth.

Sources: docs.stripe.com/keys#limit-access, docs.stripe.com/stripe-apps/api-authentication/oauth. The wording of a
refusal is what Stripe answers to restricted keys.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from sandbox.stripe_endpoints import Endpoints
from sandbox.stripe_objects import Json
from sandbox.stripe_shelf import StripeRefusal

ACCESS_SECONDS = 60 * 60
REFRESH_SECONDS = 365 * 24 * 60 * 60
CODE_SECONDS = 5 * 60

# Paths whose permission is not called like their objects.
_NOUNS = {
    "account": "accounts_kyc_basic",
    "refunds": "charge",
    "checkout/sessions": "checkout_session",
    "webhook_endpoints": "webhook",
    "invoice_payments": "invoice",
    "prices": "plan",
}


@dataclass(slots=True)
class Key:
    """A key or an access token. `lacks`: names of permissions, "customer_write"; a key without the read may not write."""

    expires_at: float | None = None
    lacks: set[str] = field(default_factory=set)


@dataclass(slots=True)
class App:
    """A Stripe App that this account may install: the developer's side of it, and what was handed out."""

    client_id: str
    secret_key: str  # the developer's own, of the same mode
    redirect_uris: tuple[str, ...]
    endpoints: Endpoints  # of the developer's account
    codes: dict[str, float] = field(default_factory=dict)  # until when
    refresh_tokens: dict[str, float] = field(default_factory=dict)
    is_installed: bool = False
    refreshes: int = 0


class Access:
    """The keys of one account. `app` is None until a developer has one."""

    def __init__(
        self, account_id: str, keys: Mapping[str, Key], clock: Callable[[], datetime], *, mode: str
    ) -> None:
        self.account_id = account_id
        self.keys = dict(keys)
        self.app: App | None = None
        self.mode = mode
        self._clock = clock

    # -- requests ----------------------------------------------------------------------------------------------------

    def check(self, request: web.Request) -> None:
        """Returns if the request's key may make it. Raises StripeRefusal, 401 or 403."""
        given = _given_key(request)
        key = self.keys.get(given)
        if self.is_developer(request):
            return
        if key is None:
            raise StripeRefusal("Invalid API Key provided", status=401)
        if key.expires_at is not None and key.expires_at <= self._now:
            raise StripeRefusal(
                f"Expired API Key provided: {_masked(given)}.", status=401, code="api_key_expired"
            )
        noun, is_write = _noun(request.path), request.method != "GET"
        if key.expires_at is not None and noun == _NOUNS["account"]:
            raise _no_app_may(self.account_id)
        if f"{noun}_read" in key.lacks or (is_write and f"{noun}_write" in key.lacks):
            wanted = f"rak_{noun}_{'write' if is_write else 'read'}"
            raise StripeRefusal(
                f"The provided key '{_masked(given)}' does not have the required permissions for this endpoint on "
                f"account '{self.account_id}'. Having the '{wanted}' permission would allow this request to continue.",
                status=403,
            )

    def is_developer(self, request: web.Request) -> bool:
        """True for the app's developer, who asks about their own account: here about endpoints and destinations only."""
        mine = self.app is not None and _given_key(request) == self.app.secret_key
        return mine and _noun(request.path) in ("webhook", "event_destination")

    # -- OAuth -------------------------------------------------------------------------------------------------------

    def authorize(self, query: Mapping[str, str]) -> str:
        """The merchant agrees to install the app; where their browser goes next."""
        app = self._app()
        if query.get("client_id") != app.client_id:
            raise StripeRefusal("This OAuth link is invalid.", status=404)
        back = query.get("redirect_uri") or app.redirect_uris[0]
        if back not in app.redirect_uris:
            raise StripeRefusal("Invalid redirect URI: it must be one of the app's allowed_redirect_uris.")
        code = "ac_" + secrets.token_urlsafe(24)
        app.codes[code] = self._now + CODE_SECONDS
        app.is_installed = True
        state = query.get("state", "")
        return f"{back}?code={code}&state={state}"

    def token(self, request: web.Request, form: Mapping[str, Any]) -> Json:
        """Both grants of /v1/oauth/token; each code and each refresh token works once."""
        app = self._app()
        if _given_key(request) != app.secret_key:
            raise OAuthRefusal("invalid_client", "No such API key", status=401)
        kind = form.get("grant_type")
        if kind == "authorization_code":
            self._use(app.codes, str(form.get("code")), "Authorization code does not exist")
        elif kind == "refresh_token":
            self._use(app.refresh_tokens, str(form.get("refresh_token")), "Refresh token does not exist")
            app.refreshes += 1
        else:
            raise OAuthRefusal("unsupported_grant_type", "Unsupported grant type")
        if not app.is_installed:
            raise OAuthRefusal("invalid_grant", "The app is not installed on this account")
        return self._handed_out(app)

    def uninstall(self) -> None:
        """The merchant takes the app out: its tokens are dead."""
        app = self._app()
        app.is_installed = False
        app.refresh_tokens.clear()
        self.keys = {text: key for text, key in self.keys.items() if key.expires_at is None}

    def _handed_out(self, app: App) -> Json:
        access, refresh = f"rk_{self.mode}_app{secrets.token_hex(16)}", "rt_" + secrets.token_urlsafe(24)
        self.keys[access] = Key(expires_at=self._now + ACCESS_SECONDS)
        app.refresh_tokens[refresh] = self._now + REFRESH_SECONDS
        return {
            "access_token": access,
            "livemode": self.mode == "live",
            "refresh_token": refresh,
            "scope": "stripe_apps",
            "stripe_publishable_key": f"pk_{self.mode}_sandbox",
            "stripe_user_id": self.account_id,
            "token_type": "bearer",
        }

    def _use(self, held: dict[str, float], text: str, words: str) -> None:
        until = held.pop(text, None)
        if until is None or until <= self._now:
            raise OAuthRefusal("invalid_grant", f"{words}: {text[:6]}…")

    def _app(self) -> App:
        if self.app is None:
            raise StripeRefusal("Unrecognized request URL.", status=404)
        return self.app

    @property
    def client_id(self) -> str:
        return self._app().client_id

    @property
    def _now(self) -> float:
        return self._clock().timestamp()


class OAuthRefusal(StripeRefusal):
    """An error as OAuth writes it: `error` is a word, not an object."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description, status=status)
        self.word = error


def _no_app_may(account_id: str) -> StripeRefusal:
    """There is no permission for an app to read its account (github.com/stripe/stripe-apps/issues/458, 777, 1027)."""
    return StripeRefusal(
        f"This application does not have the required permissions for this endpoint on account '{account_id}'. "
        "Having the 'read_only' scope would allow this request to continue.",
        status=403,
        code="more_permissions_required_for_application",
    )


def _given_key(request: web.Request) -> str:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return given
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _noun(path: str) -> str:
    """The permission's noun of a path: "promotion_code" of /v1/promotion_codes/promo_1."""
    parts = re.sub("^/v1/|^/v2/core/", "", path).split("/")
    name = "/".join(parts[:2]) if parts[0] == "checkout" else parts[0]
    return _NOUNS.get(name, re.sub("s$", "", name))


def _masked(key: str) -> str:
    return f"{key[:8]}{'*' * 8}{key[-4:]}"
