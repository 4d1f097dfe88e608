"""The pages that connect a Stripe account: install our Stripe App (OAuth), or paste a restricted key.

The operator's settings of the app (PERENNIAL_APPS__STRIPE__…), those for test mode with TEST_ before them: CLIENT_ID (or
AUTHORIZE_URL, the app's whole install link), SECRET_KEY (the developer account's own) and WEBHOOK_SECRET (of its Connect
endpoint). Sources: docs.stripe.com/stripe-apps/api-authentication/oauth, docs.stripe.com/stripe-apps/install-links-oauth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from zoneinfo import available_timezones

from connectors.base import Installation, Secret
from connectors.stripe import mapping
from connectors.stripe.install import HOW, KeyInstall, settings_of
from connectors.stripe.tokens import API_BASE, app_key, ask_for_tokens, credentials_of
from connectors.web import FormField, Redirect, Site, StoreSummary, WebAnswer, WebPage, WebRequest
from rewards.errors import AccessRevokedError, InvalidInputError

AUTHORIZE_URL = "https://marketplace.stripe.com/oauth/v2/authorize"
_MODES = {"live": "Connect a live account", "test": "Connect a test mode account or sandbox"}
_AGAIN = {"Start again": "/install/stripe"}
# As long as somebody may take to read the permissions, to sign in at Stripe and to pick the account.
_STATE_SECONDS = 60 * 60
_LONGEST_NAME = 100
_CURRENCY = re.compile("[A-Za-z]{3}")


class StripeWeb:
    """The pages below /install/stripe."""

    async def handle(self, request: WebRequest, site: Site) -> WebAnswer:
        """Answers one request. Raises InvalidInputError and PlatformError."""
        match (request.method, request.path):
            case ("GET", ""):
                return _start(site)
            case ("GET", "authorize"):
                return _ask_about_the_shop(request.query.get("mode", "live"), site)
            case ("POST", "authorize"):
                return await _authorize(request.form, site)
            case ("GET", "callback"):
                return await _callback(request, site)
            case ("POST", "key"):
                return await _take_key(request, site)
        return WebPage("There is nothing here", ("Check the address.",), links=_AGAIN, status=404)


def _start(site: Site) -> WebPage:
    """Both ways to connect; the app's only in the modes that the operator has set up."""
    links = {
        label: f"/install/stripe/authorize?mode={mode}"
        for mode, label in _MODES.items()
        if site.public_url and _authorize_url(site.app, mode) and app_key(site.app, mode)
    }
    lines = (
        ["With the app, Stripe asks you to agree to what it may do, and nothing has to be copied."]
        if links
        else []
    )
    return WebPage(
        "Connect Stripe",
        (*lines, f"{'Or use' if links else 'Use'} a restricted key. {HOW}"),
        fields=(
            FormField("api-key", "Restricted API key", "password", help="rk_live_… or rk_test_…"),
            FormField(
                "webhook-secret",
                "Signing secret",
                "password",
                help="Only if you have added the webhook endpoint in the Dashboard yourself: whsec_…",
                is_required=False,
            ),
        ),
        submit="Connect with this key",
        action="key",
        links=links,
    )


def _ask_about_the_shop(mode: str, site: Site) -> WebPage:
    """What Stripe tells no app of an account (github.com/stripe/stripe-apps/issues/1027), so its merchant tells it."""
    _link(mode, site)
    return WebPage(
        _MODES[mode],
        ("Stripe does not tell an app these three. Next, Stripe asks you to pick the account and to agree.",),
        fields=(
            FormField("mode", kind="hidden", value=mode),
            FormField("name", "Name of your business"),
            FormField("currency", "Currency", help="Three letters, like EUR"),
            FormField("time-zone", "Time zone", help="Like Europe/Madrid; birthdays begin at its midnight"),
        ),
        submit="Go to Stripe",
        action="authorize",
    )


async def _authorize(form: Mapping[str, str], site: Site) -> WebAnswer:
    """Sends the merchant to Stripe, with a state that only comes back from there."""
    mode = form.get("mode", "")
    link = _link(mode, site)
    state = await site.ticket({"mode": mode, **_told(form)}, _STATE_SECONDS)
    asked = {"redirect_uri": f"{site.public_url}/install/stripe/callback", "state": state}
    return Redirect(_with_query(link, asked))


def _told(form: Mapping[str, str]) -> dict[str, str]:
    """What the merchant says of the shop, as settings of the store. Raises InvalidInputError."""
    name, currency, zone = (form.get(field, "").strip() for field in ("name", "currency", "time-zone"))
    if not 0 < len(name) <= _LONGEST_NAME:
        raise InvalidInputError("Go back and give your business a name of at most 100 letters.")
    if not _CURRENCY.fullmatch(currency):
        raise InvalidInputError("Go back and write the currency with three letters, like EUR.")
    if zone not in available_timezones():
        raise InvalidInputError("Go back and write the time zone as region and city, like Europe/Madrid.")
    return {"shop_name": name, "shop_currency": currency.lower(), "shop_time_zone": zone}


def _link(mode: str, site: Site) -> str:
    """Where a merchant installs the app in this mode. Raises InvalidInputError when the operator has none there."""
    link = _authorize_url(site.app, mode) if mode in _MODES else None
    if link is None or site.public_url is None or app_key(site.app, mode) is None:
        raise InvalidInputError(
            "The Stripe app is not set up here. Use a restricted key, or ask whoever runs Perennial to set "
            "PERENNIAL_PUBLIC_URL and the app's PERENNIAL_APPS__STRIPE__… settings."
        )
    return link


async def _callback(request: WebRequest, site: Site) -> WebAnswer:
    """Back from Stripe: the code becomes tokens, the tokens a store."""
    begun = await site.redeem(request.query.get("state", ""))
    if begun is None:
        raise InvalidInputError(
            "This link was used already, is too old, or was not made here. Start again at /install/stripe."
        )
    code = request.query.get("code")
    if not code:
        # The only error that Stripe names is "access_denied"; its text is not shown, since anybody can write it.
        return WebPage("Nothing was connected", ("Stripe did not give access.",), links=_AGAIN, status=400)
    return _connected(await site.install(await _installation(code, begun, site)))


async def _installation(code: str, begun: Mapping[str, str], site: Site) -> Installation:
    mode = begun["mode"]
    key, now = app_key(site.app, mode), site.clock()
    if key is None:
        raise InvalidInputError("The Stripe app is no longer set up here; ask whoever runs Perennial.")
    api_base = _text(site.app, "api_base")
    grant = {"grant_type": "authorization_code", "code": code}
    try:
        tokens = await ask_for_tokens(site.session, (api_base or API_BASE).rstrip("/"), key, grant)
    except AccessRevokedError:
        raise InvalidInputError(
            "Stripe's code works once and for five minutes, and this one no longer does. Start again at /install/stripe."
        ) from None
    if tokens.livemode != (mode == "live"):
        raise InvalidInputError("Stripe gave access in another mode than was asked for; start again.")
    return Installation(
        external_id=mapping.external_id(mapping.Account(tokens.stripe_user_id), mode),
        credentials=credentials_of(tokens, now),
        api_base=api_base,
        webhook_secrets=webhook_secrets(site.app, mode),
        settings={**begun, **settings_of(tokens.stripe_user_id, mode, "app")},
    )


async def _take_key(request: WebRequest, site: Site) -> WebAnswer:
    """The form with a restricted key. Where the API is, only the operator says."""
    answers = {name: request.form.get(name, "") for name in ("api-key", "webhook-secret")}
    answers["api-base"] = _text(site.app, "api_base") or ""
    return _connected(await site.install(await KeyInstall().installation(answers, site.session)))


def _connected(store: StoreSummary) -> WebPage:
    verb = "is connected" if store.is_new else "is connected again"
    return WebPage(
        "Stripe is connected",
        (
            f"{store.name} {verb}, as store {store.id}. Its history is being read now; no points have moved.",
            *store.notes,
        ),
    )


def webhook_secrets(app: Mapping[str, Secret], mode: str) -> list[Secret]:
    """What signs the posts of the app's Connect endpoints; events of test mode may come to the live one too."""
    names = ["webhook_secret"] if mode == "live" else ["test_webhook_secret", "webhook_secret"]
    return [app[name] for name in names if app.get(name)]


def _authorize_url(app: Mapping[str, Secret], mode: str) -> str | None:
    """Where a merchant agrees to install the app in this mode; None when the operator has not said."""
    before = "" if mode == "live" else "test_"
    client_id = _text(app, before + "client_id")
    link = _text(app, before + "authorize_url") or (AUTHORIZE_URL if client_id else None)
    return _with_query(link, {"client_id": client_id} if client_id else {}) if link else None


def _with_query(link: str, added: Mapping[str, str]) -> str:
    parts = urlsplit(link)
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **added})))


def _text(app: Mapping[str, Secret], name: str) -> str | None:
    secret = app.get(name)
    return secret.reveal() if secret else None
