"""Connecting a shop with a key: pasted by the merchant, or handed over by the shop itself (`web.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import aiohttp
import msgspec

from connectors.base import Installation, InstallOption, Secret
from connectors.besides import Traces
from connectors.woocommerce import moves
from connectors.woocommerce.answers import NoAccessError
from connectors.woocommerce.client import REST_ROOT, Client
from connectors.woocommerce.finding import FoundShop, find_shop
from connectors.woocommerce.mapping import CurrencyData
from connectors.woocommerce.pace import Pace
from rewards.errors import InvalidInputError, RefusedError

# Where the key goes over https: most hosts pass the Authorization header on to WordPress, some do not.
KEYS_IN, IN_HEADER, IN_QUERY = "keys_in", "header", "query"
ROOT = "rest_root"  # where the API is, below the shop's address
_PATIENCE_SECONDS = 15.0
_UNKNOWN_KEY = "woocommerce_rest_cannot_view"
_CURRENCY = msgspec.json.Decoder(CurrencyData)
_ANYTHING = msgspec.json.Decoder()


class WooCommerceInstall:
    """Address, consumer key and consumer secret. Also hears "allow-private-hosts" = "1" from the operator's settings."""

    options: Sequence[InstallOption] = (
        InstallOption("url", "The shop's address, e.g. https://shop.example"),
        InstallOption("key", "Consumer key (ck_…) with Read/Write permission", is_secret=True),
        InstallOption("secret", "Consumer secret (cs_…)", is_secret=True),
    )

    async def installation(self, answers: Mapping[str, str], session: aiohttp.ClientSession) -> Installation:
        """Checks the address, that WooCommerce answers there, and that the key may read and write."""
        key = Secret(answers.get("key", "").strip())
        secret = Secret(answers.get("secret", "").strip())
        if not key.reveal().startswith("ck_") or not secret.reveal().startswith("cs_"):
            raise InvalidInputError(
                "The consumer key begins with ck_ and the consumer secret with cs_; copy both as WooCommerce shows them."
            )
        allow_private = answers.get("allow-private-hosts") == "1"
        shop = await find_shop(answers.get("url", ""), session, allow_private_hosts=allow_private)
        keys_in = await _checked_key(shop, key, secret, session)
        return Installation(
            external_id=shop.base,
            credentials={"key": key, "secret": secret},
            api_base=shop.base,
            settings={KEYS_IN: keys_in, ROOT: shop.root},
        )

    async def traces(self, installation: Installation, session: aiohttp.ClientSession) -> Traces:
        """See FollowsMoves."""
        return await moves.traces(_client_of(installation, session))

    async def has_left(self, former: str, installation: Installation, session: aiohttp.ClientSession) -> bool:
        """See FollowsMoves."""
        return await moves.has_left(former, installation, session)


async def _checked_key(shop: FoundShop, key: Secret, secret: Secret, session: aiohttp.ClientSession) -> str:
    """Where the key must go. It is tried by reading a setting, and by an empty batch, which writes nothing."""
    client = _client(shop.base, key, secret, session, {ROOT: shop.root})
    try:
        await client.get("wc/v3/data/currencies/current", _CURRENCY.decode)
        keys_in = IN_HEADER
    except NoAccessError as error:
        if error.code != _UNKNOWN_KEY or not shop.base.startswith("https:"):
            raise NoAccessError(f"{error} {_hint(shop)}".strip(), error.code) from error
        # The answer to an unknown key, and to none: the header may have been lost on the way.
        client = _client(shop.base, key, secret, session, {ROOT: shop.root, KEYS_IN: IN_QUERY})
        await client.get("wc/v3/data/currencies/current", _CURRENCY.decode)
        keys_in = IN_QUERY
    with suppress(RefusedError):  # refused for being empty: it got past the permission
        await client.send("POST", "wc/v3/coupons/batch", {"create": []}, _ANYTHING.decode)
    return keys_in


def _hint(shop: FoundShop) -> str:
    """Over plain http a key only holds under the very name that the shop has in its settings."""
    if shop.base.startswith("https:"):
        return ""
    return (
        f"If the key is right: over plain http it only works at the shop's own address ({shop.index.home or 'unknown'}), "
        "and better still the shop gets https."
    )


def _client_of(installation: Installation, session: aiohttp.ClientSession) -> Client:
    key, secret = installation.credentials["key"], installation.credentials["secret"]
    return _client(installation.external_id, key, secret, session, installation.settings)


def _client(
    base: str, key: Secret, secret: Secret, session: aiohttp.ClientSession, settings: Mapping[str, str]
) -> Client:
    return Client(
        session,
        base,
        key,
        secret,
        pace=Pace(fixed=1),
        patience_seconds=_PATIENCE_SECONDS,
        in_query=settings.get(KEYS_IN) == IN_QUERY,
        root=settings.get(ROOT, REST_ROOT),
    )
