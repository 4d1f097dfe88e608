"""Connecting an own store: an app's client id and secret, or the token of an admin-made app from before 2026.

Installing from the App Store is in `web.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp

from connectors.base import Installation, InstallOption, Secret, StoreAccess, StoreOptions
from connectors.shopify.access import app_secrets
from connectors.shopify.shop import shop_domain
from connectors.shopify.store import ShopifyStore
from connectors.shopify.subscriptions import by_own_app
from rewards.errors import InvalidInputError


class ShopifyInstall:
    """The InstallFlow of Shopify."""

    options: Sequence[InstallOption] = (
        InstallOption("shop", "The shop: NAME or NAME.myshopify.com."),
        InstallOption(
            "client-id", "The app's client id (app and shop in one organization).", is_required=False
        ),
        InstallOption(
            "token",
            "Instead of a client id: an admin-made app's access token.",
            is_secret=True,
            is_required=False,
        ),
        InstallOption("client-secret", "The app's client secret; it also signs webhooks.", is_secret=True),
        InstallOption(
            "old-client-secret",
            "While the secret is being replaced: the former one, which signs some webhooks for up to an hour.",
            is_secret=True,
            is_required=False,
        ),
        InstallOption("api-base", "Another server that speaks Shopify's API.", is_required=False),
    )

    async def installation(self, answers: Mapping[str, str], session: aiohttp.ClientSession) -> Installation:
        """Checks the answers and asks the shop who it is."""
        shop = shop_domain(answers.get("shop", ""))
        if shop is None:
            raise InvalidInputError("--shop is the shop's name or its NAME.myshopify.com domain.")
        credentials = _credentials(answers)
        api_base = answers.get("api-base") or None
        options = StoreOptions(currency="", time_zone="UTC", settings={"patience_seconds": "5"})
        access = StoreAccess(shop, credentials, options, api_base)
        facts = await ShopifyStore(access, session).facts()
        if facts.external_id != shop:
            raise InvalidInputError(f"This access belongs to {facts.external_id}: give that as --shop.")
        return Installation(
            external_id=shop,
            credentials=credentials,
            api_base=api_base,
            webhook_secrets=app_secrets(credentials),
            settings=by_own_app(credentials.get("client_id")),
        )


def _credentials(answers: Mapping[str, str]) -> dict[str, Secret]:
    secret = answers.get("client-secret", "").strip()
    if not secret:
        raise InvalidInputError("--client-secret is needed: it signs the shop's webhooks.")
    client_id, token = answers.get("client-id", "").strip(), answers.get("token", "").strip()
    if bool(client_id) == bool(token):
        raise InvalidInputError("Give one of --client-id and --token.")
    named = {"client_id": client_id} if client_id else {"token": token}
    secrets = {"client_secret": secret}
    if former := answers.get("old-client-secret", "").strip():
        secrets["old_client_secret"] = former
    return {name: Secret(text) for name, text in (named | secrets).items()}
