"""Installing with an API key that the merchant makes in the Stripe Dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp

from connectors.base import Installation, InstallOption, Secret
from connectors.stripe import mapping
from connectors.stripe.client import Client, mode_of
from connectors.stripe.store import API_KEY, account_of
from rewards.errors import AccessRevokedError, InvalidInputError

_HOW = (
    "Make a restricted key: Stripe Dashboard, Developers, API keys, Create restricted key. It needs to read customers, "
    "charges, Checkout sessions and events, and to write coupons, promotion codes and webhook endpoints."
)


class KeyInstall:
    """A restricted key, or a secret key of test mode, handed over on the command line."""

    options: Sequence[InstallOption] = (
        InstallOption("api-key", "A restricted API key (rk_live_… or rk_test_…)", is_secret=True),
        InstallOption("api-base", "Another server that speaks Stripe's API", is_required=False),
    )

    async def installation(self, answers: Mapping[str, str], session: aiohttp.ClientSession) -> Installation:
        """Asks Stripe whose key it is. Raises InvalidInputError for a key that cannot or must not be used."""
        key, api_base = Secret(answers.get("api-key", "").strip()), answers.get("api-base") or None
        mode = _usable_mode(key.reveal())
        client = Client(key, session, account="", api_base=api_base, settings={})
        try:
            account = await account_of(client)
        except AccessRevokedError:
            raise InvalidInputError(f"Stripe does not accept this key. {_HOW}") from None
        return Installation(
            external_id=mapping.external_id(account, mode),
            credentials={API_KEY: key},
            api_base=api_base,
            settings={"mode": mode},
        )


def _usable_mode(key: str) -> str:
    """The key's mode. Raises InvalidInputError for what is no key, and for one that can do anything with real money."""
    if key.startswith("sk_live_"):
        raise InvalidInputError(f"This is the account's secret key: whoever holds it can move money. {_HOW}")
    mode = mode_of(key)
    if mode is None:
        raise InvalidInputError(f"This is no Stripe API key (rk_live_… or rk_test_…). {_HOW}")
    return mode
