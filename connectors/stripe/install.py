"""Installing with an API key that the merchant makes in the Stripe Dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp

from connectors.base import Installation, InstallOption, Secret, StoreAccess, StoreOptions
from connectors.stripe import mapping
from connectors.stripe.client import Client, mode_of
from connectors.stripe.endpoints import BY_HAND, SIGNING, WEBHOOKS
from connectors.stripe.errors import MISSING_PERMISSION
from connectors.stripe.permissions import ACCOUNT, PERMISSIONS, WEBHOOK_ENDPOINTS, Permission, missing
from connectors.stripe.store import account_of
from connectors.stripe.tokens import API_KEY
from rewards.errors import AccessRevokedError, InvalidInputError, RefusedError

_ALL = (ACCOUNT, *PERMISSIONS, WEBHOOK_ENDPOINTS)
HOW = (
    "Make a restricted key: Stripe Dashboard, Developers, API keys, Create restricted key. Switch on: "
    f"{', '.join(each.label for each in _ALL)}."
)


class KeyInstall:
    """A restricted key, or a secret key of test mode, handed over on the command line or on a page."""

    options: Sequence[InstallOption] = (
        InstallOption("api-key", "A restricted API key (rk_live_… or rk_test_…)", is_secret=True),
        InstallOption(
            "webhook-secret",
            "The signing secret (whsec_…) of an endpoint that you have added in the Dashboard; several with commas between",
            is_secret=True,
            is_required=False,
        ),
        InstallOption("api-base", "Another server that speaks Stripe's API", is_required=False),
    )

    async def installation(self, answers: Mapping[str, str], session: aiohttp.ClientSession) -> Installation:
        """Asks Stripe whose key it is and what it may do. Raises InvalidInputError for one that will not do."""
        key, api_base = Secret(answers.get("api-key", "").strip()), _address(answers.get("api-base", ""))
        mode = _usable_mode(key.reveal())
        signing = _signing_secrets(answers.get("webhook-secret", ""))
        # Nothing is awaited for long here: somebody is waiting for the answer.
        options = StoreOptions("", "UTC", {"patience_seconds": "15"})
        access = StoreAccess("", {API_KEY: key}, options, api_base)
        client = Client(access, session, lambda: datetime.now(UTC), mode)
        account = await _checked(client)
        return Installation(
            external_id=mapping.external_id(account, mode),
            credentials={API_KEY: key},
            api_base=api_base,
            webhook_secrets=signing,
            settings={**settings_of(account.id, mode, "key"), **({WEBHOOKS: BY_HAND} if signing else {})},
        )


def settings_of(account_id: str, mode: str, access: str) -> dict[str, str]:
    """The store's settings that say whose events it takes; `access` is "key" or "app"."""
    return {"mode": mode, "account": account_id, "access": access}


async def _checked(client: Client) -> mapping.Account:
    """Whose key it is, when it may read what every store needs. Raises InvalidInputError."""
    try:
        account = await account_of(client)
    except AccessRevokedError:
        raise InvalidInputError(f"Stripe does not accept this key. {HOW}") from None
    except RefusedError as refusal:
        if refusal.code != MISSING_PERMISSION:
            raise
        # Stripe has more than one switch that lets a key read its account; its refusal names the one it wants.
        raise InvalidInputError(f"{_lacking([ACCOUNT])} {refusal}") from None
    lacking = await missing(client, [each for each in PERMISSIONS if each.is_needed])
    if lacking:
        raise InvalidInputError(_lacking(lacking))
    return account


def _lacking(permissions: Sequence[Permission]) -> str:
    named = "; ".join(f"{each.label} ({each.name}): {each.lost}" for each in permissions)
    return (
        f"This key may not do what every store needs. It lacks {named}. Edit the key in the Stripe Dashboard "
        "(Developers, API keys), switch this on, and connect again."
    )


def _signing_secrets(text: str) -> list[Secret]:
    """Several while one is rolled, or where an event destination posts beside an endpoint."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.startswith(SIGNING) for part in found):
        raise InvalidInputError(
            "This is no signing secret of a webhook endpoint (whsec_…). The Stripe Dashboard shows it on the endpoint's "
            "page (Developers, Webhooks)."
        )
    return [Secret(part) for part in found]


def _address(text: str) -> str | None:
    """Where the API is, when that is not Stripe's own server. Raises InvalidInputError."""
    parts = urlsplit(text.strip())
    if text.strip() and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise InvalidInputError("The API's address must be a whole one, like https://api.example.com.")
    return text.strip() or None


def _usable_mode(key: str) -> str:
    """The key's mode. Raises InvalidInputError for what is no key, and for one that can do anything with real money."""
    if key.startswith("sk_live_"):
        raise InvalidInputError(f"This is the account's secret key: whoever holds it can move money. {HOW}")
    mode = mode_of(key)
    if mode is None:
        raise InvalidInputError(f"This is no Stripe API key (rk_live_… or rk_test_…). {HOW}")
    return mode
