"""Which WooCommerce a shop runs, which shop it is, and what merchants with older ones should know.

Tried on 8.0.3, 9.4.2, 10.0.2 and 11.0.1; where each difference begins was read in the releases' code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from connectors.woocommerce.answers import UnreadableError
from connectors.woocommerce.client import Client
from rewards.errors import AccessRevokedError, RefusedError

_NUMBER = re.compile(r"(\d{1,3})\.(\d{1,3})")
_OLDEST_TRIED = (8, 0)


class _Environment(msgspec.Struct):
    store_id: str | None = None
    version: str | None = None


class _System(msgspec.Struct):
    """To PHP, nothing by name is an empty list."""

    environment: _Environment | list[object] = []


_SYSTEM = msgspec.json.Decoder(_System)


@dataclass(frozen=True, slots=True)
class Release:
    """WooCommerce's version as it calls it ("10.0.2") and the id that it gave the shop; "" where neither is told.

    The id came with WooCommerce 8.4 (2023). A copy of a shop has the same one.
    """

    version: str = ""
    mark: str = ""

    @property
    def notices(self) -> tuple[str, ...]:
        """What the merchant should know of this version."""
        found = _NUMBER.match(self.version)
        if found is None:
            return ()
        number = int(found[1]), int(found[2])
        if number < _OLDEST_TRIED:
            return (
                f"WooCommerce {self.version} is older than any that Perennial was tried on (8.0); update it.",
            )
        if number < (9, 5):
            return (
                f"WooCommerce {self.version} compares the e-mail of a personal code letter by letter in the block checkout: "
                "customers who type theirs with capitals are refused. Updated to 9.5 or later it does not.",
            )
        return ()


async def release_of(client: Client) -> Release:
    """What the shop says; nothing where its key's user may not see it."""
    fields = {"_fields": "environment.store_id,environment.version"}
    try:
        found = (await client.get("wc/v3/system_status", _SYSTEM.decode, fields)).value.environment
    except (RefusedError, AccessRevokedError, UnreadableError):
        return Release()
    if isinstance(found, list):
        return Release()
    return Release(found.version or "", found.store_id or "")
