"""Writes a birthday into the customer's metafield, where the merchant and other apps see it."""

from __future__ import annotations

import logging
from contextlib import suppress

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import CustomerRules, birthday_text
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import gid
from rewards.errors import RefusedError
from rewards.records import Birthday

_log = logging.getLogger(__name__)


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]


class _Outcome(msgspec.Struct):
    result: _Result


class Birthdays:
    """Writes into the metafield that this shop's birthdays are read from."""

    def __init__(self, client: ShopifyClient, rules: CustomerRules) -> None:
        self._client = client
        self._rules = rules
        self._is_defined = (
            not rules.is_standard
        )  # one of the merchant's own has a definition, which says its type

    async def write(self, customer: str, day: Birthday) -> None:
        """Sets a customer's birthday. Raises RefusedError, also when the customer is gone."""
        if not self._is_defined:
            await self._define()
        field = {
            "ownerId": gid("Customer", customer),
            "namespace": self._rules.namespace,
            "key": self._rules.key,
            "value": birthday_text(day),
        }
        if self._rules.is_standard:
            field["type"] = "date"
        result = (await self._client.call("metafields_set", {"metafields": [field]}, _Outcome)).result
        if result.user_errors:
            raise refusal(result.user_errors)

    async def _define(self) -> None:
        """Switches Shopify's own definition on, without which merchants do not see what is written.

        Whatever is in the way (it is on already, or too many fields are pinned), the date is worth writing.
        """
        self._is_defined = True
        with suppress(RefusedError):
            result = (await self._client.call("birth_date_enable", {}, _Outcome)).result
            for error in result.user_errors:
                _log.debug("Shopify did not switch the birth date's definition on: %s", error.code)
