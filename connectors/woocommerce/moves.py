"""A shop that comes back at another address: what in it shows which one it is, and whether it has left the old one.

Nothing of this is sent a key: the old address may be anybody's by now.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
import msgspec

from connectors.base import Installation
from connectors.besides import Traces
from connectors.woocommerce.answers import CertificateError, MovedError, UnreachableError
from connectors.woocommerce.client import Client
from connectors.woocommerce.finding import API, index_at, normalised
from connectors.woocommerce.mapping import WebhookData
from connectors.woocommerce.versions import release_of
from rewards.errors import AccessRevokedError, InvalidInputError, PlatformError, RefusedError

PER_PAGE = 100
_OURS = re.compile(r"/webhooks/woocommerce/([A-Za-z0-9_-]{16,64})/?$")
_HOOKS = msgspec.json.Decoder(list[WebhookData])


async def traces(client: Client) -> Traces:
    """Where the shop's webhooks for us go, and its own id: both are in its database, and move with it."""
    tokens: list[str] = []
    with suppress(
        RefusedError, AccessRevokedError
    ):  # a shop that shows its webhooks to nobody is read without any
        tokens = await _tokens(client)
    return Traces(tuple(dict.fromkeys(tokens)), (await release_of(client)).mark)


async def _tokens(client: Client) -> list[str]:
    tokens: list[str] = []
    page, is_full = 1, True
    while is_full:
        params = {"per_page": str(PER_PAGE), "page": str(page), "_fields": "id,delivery_url"}
        some = (await client.get("wc/v3/webhooks", _HOOKS.decode, params)).value
        tokens += [found[1] for hook in some if (found := _OURS.search(urlsplit(hook.delivery_url).path))]
        page, is_full = page + 1, len(some) == PER_PAGE
    return tokens


async def has_left(former: str, installation: Installation, session: aiohttp.ClientSession) -> bool:
    """True when the old address leads elsewhere, is nobody's, or is another name of the new one.

    False also where that cannot be told: somebody answers there, and may be the shop itself.
    """
    try:
        index = await index_at(former, session)
    except MovedError:
        return True
    except CertificateError:
        return False
    except UnreachableError:
        return True
    except RefusedError as error:
        return error.code != "private"
    except PlatformError:
        return False
    if API not in index.namespaces:
        return True
    try:
        return _name(normalised(index.home)) == _name(installation.external_id)
    except InvalidInputError:
        return False


def _name(base: str) -> str:
    """An address without what may be written either way."""
    return base.partition("://")[2].removeprefix("www.")
