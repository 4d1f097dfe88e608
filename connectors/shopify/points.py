"""Writes members' points into the app's own metafield of each customer, which only this app can change.

`shopify.app.toml` defines it, so that merchants see it in the admin; without a namespace the app's own is meant. Source:
shopify.dev, "metafieldsSet": at most 25 at a time, all of them or none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import gid

KEY, TYPE = "points", "number_integer"
_AT_ONCE = 25


class _Error(UserError):
    field: list[str] | None = None

    @property
    def place(self) -> int | None:
        """Which of the metafields is meant: the path is metafields, place, input field."""
        number = self.field[1] if self.field and len(self.field) > 1 else ""
        return int(number) if number.isdigit() else None


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[_Error]


class _Outcome(msgspec.Struct):
    result: _Result


async def show_points(client: ShopifyClient, points: Mapping[str, int]) -> dict[str, str]:
    """Writes the points of these customers, by number; why, for those that Shopify refuses. Raises PlatformError."""
    refused: dict[str, str] = {}
    customers = list(points)
    for start in range(0, len(customers), _AT_ONCE):
        left = {customer: points[customer] for customer in customers[start : start + _AT_ONCE]}
        while left and (reasons := await _write(client, left)):
            refused |= reasons
            left = {customer: number for customer, number in left.items() if customer not in reasons}
    return refused


async def _write(client: ShopifyClient, points: Mapping[str, int]) -> dict[str, str]:
    """Writes all of them, or none and says whose fault that is."""
    fields = [
        {"ownerId": gid("Customer", customer), "key": KEY, "type": TYPE, "value": str(number)}
        for customer, number in points.items()
    ]
    result = (await client.call("metafields_set", {"metafields": fields}, _Outcome)).result
    if not result.user_errors:
        return {}
    reason = str(refusal(result.user_errors))
    customers = list(points)
    named = {error.place for error in result.user_errors}
    if None in named:
        return dict.fromkeys(customers, reason)
    return {customer: reason for place, customer in enumerate(customers) if place in named}
