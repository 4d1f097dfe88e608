"""Writes a birthday into the customer's metafield, where the merchant and other apps see it."""

from __future__ import annotations

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import CustomerRules, birthday_text
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import gid
from rewards.records import Birthday


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]


class _Outcome(msgspec.Struct):
    result: _Result


async def write_birthday(client: ShopifyClient, rules: CustomerRules, customer: str, day: Birthday) -> None:
    """Sets the metafield that birthdays are read from. Raises RefusedError, also when the customer is gone.

    A metafield of the merchant's own has a definition, which says its type.
    """
    field = {
        "ownerId": gid("Customer", customer),
        "namespace": rules.namespace,
        "key": rules.key,
        "value": birthday_text(day),
    }
    if rules.is_standard:
        field["type"] = "date"
    result = (await client.call("metafields_set", {"metafields": [field]}, _Outcome)).result
    if result.user_errors:
        raise refusal(result.user_errors)
