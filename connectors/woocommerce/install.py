"""Connecting a shop with keys that the merchant made and pasted."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp
import msgspec

from connectors.base import Installation, InstallOption, Secret
from connectors.woocommerce.client import Client
from connectors.woocommerce.mapping import IndexData
from connectors.woocommerce.pace import Pace
from rewards.errors import AccessRevokedError, InvalidInputError, RefusedError

_PATIENCE_SECONDS = 15.0
# What people copy from their browser instead of the shop's address.
_PAGES = re.compile(r"/(wp-admin|wp-login\.php|wp-json|index\.php)(/.*)?$")
_NO_SHOP = "There is no WooCommerce API at this address; check it, that WooCommerce is active and that permalinks are not plain."
_INDEX = msgspec.json.Decoder(IndexData)


class WooCommerceInstall:
    """Address, consumer key and consumer secret. Also hears "allow-private-hosts" = "1" from the operator's settings."""

    options: Sequence[InstallOption] = (
        InstallOption("url", "The shop's address, e.g. https://shop.example"),
        InstallOption("key", "Consumer key (ck_…) with Read/Write permission", is_secret=True),
        InstallOption("secret", "Consumer secret (cs_…)", is_secret=True),
    )

    async def installation(self, answers: Mapping[str, str], session: aiohttp.ClientSession) -> Installation:
        """Checks the address, that WooCommerce answers there, and that the key may read and write."""
        base = normalised(answers.get("url", ""))
        key = Secret(answers.get("key", "").strip())
        secret = Secret(answers.get("secret", "").strip())
        if not key.reveal().startswith("ck_") or not secret.reveal().startswith("cs_"):
            raise InvalidInputError(
                "The consumer key begins with ck_ and the consumer secret with cs_; copy both as WooCommerce shows them."
            )
        if answers.get("allow-private-hosts") != "1":
            await _refuse_private(base)
        client = Client(session, base, key, secret, pace=Pace(1), patience_seconds=_PATIENCE_SECONDS)
        await _check_shop(client)
        await _check_key(client)
        return Installation(external_id=base, credentials={"key": key, "secret": secret}, api_base=base)


def normalised(address: str) -> str:
    """The shop's base address: scheme, host in lower case, port, path without a final slash or an admin page."""
    text = address.strip()
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme.lower() not in ("http", "https") or parts.username or " " in parts.netloc:
        raise InvalidInputError("This is no shop's address; write it like https://shop.example.")
    scheme = parts.scheme.lower()
    name = f"[{host}]" if ":" in host else host.rstrip(".")
    default = {"http": 80, "https": 443}[scheme]
    where = name if port in (None, default) else f"{name}:{port}"
    return f"{scheme}://{where}{_PAGES.sub('', parts.path.rstrip('/')).rstrip('/')}"


async def _refuse_private(base: str) -> None:
    """No request goes to our own network on a merchant's word."""
    parts = urlsplit(base)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_STREAM
        )
    except OSError:
        raise InvalidInputError(
            "The shop's host name is not known; check the address for a slip of the pen."
        ) from None
    if not all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found):
        raise InvalidInputError(
            "This address belongs to a private network. The operator can allow such shops with "
            "PERENNIAL_ALLOW_PRIVATE_HOSTS=1."
        )


async def _check_shop(client: Client) -> None:
    """The index needs no key; its lack of wc/v3 says that this is no shop."""
    try:
        fields = {"_fields": "name,url,timezone_string,gmt_offset,namespaces"}
        index = (await client.get("", _INDEX.decode, fields, with_key=False)).value
    except RefusedError as error:
        if error.code == "moved":
            raise InvalidInputError(str(error)) from error
        raise InvalidInputError(_NO_SHOP) from error
    except AccessRevokedError as error:
        raise InvalidInputError(
            "The shop's REST API is blocked, often by a security plugin; allow it and connect again."
        ) from error
    if "wc/v3" not in index.namespaces:
        raise InvalidInputError(_NO_SHOP)


async def _check_key(client: Client) -> None:
    """Reads one setting, then writes nothing at all: an empty batch tells whether the key may write."""
    await client.get("wc/v3/data/currencies/current", bytes)
    try:
        await client.send("POST", "wc/v3/coupons/batch", {"create": []}, bytes)
    except RefusedError:
        return  # refused for being empty: it got past the permission
