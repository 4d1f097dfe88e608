"""What some posts only name: a customer, a discount, or the shop itself is read again over the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.customers import CustomerLine
from connectors.shopify.discounts import Discounts
from connectors.shopify.mapping import gid
from connectors.shopify.webhooks import Look
from rewards.changes import Change, CouponSaved, LookAgain, StoreChanged
from rewards.records import ShopFacts


class _CustomerData(msgspec.Struct):
    customer: CustomerLine | None = None


class Looks:
    """Reads what a LookAgain names. Raises PlatformError."""

    def __init__(
        self,
        client: ShopifyClient,
        discounts: Discounts,
        facts: Callable[[], Awaitable[ShopFacts]],
        customer_saved: Callable[[CustomerLine], Change],
    ) -> None:
        self._client = client
        self._discounts = discounts
        self._facts = facts
        self._customer_saved = customer_saved

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What there is to say of the thing now; nothing when it is gone."""
        match thing.kind:
            case Look.SHOP:
                return (StoreChanged(await self._facts()),)
            case Look.DISCOUNT:
                return [CouponSaved(coupon) for coupon in await self._discounts.look([thing.external_id])]
        asked = {"id": gid("Customer", thing.external_id)}
        found = (await self._client.call("customer_by_id", asked, _CustomerData)).customer
        return () if found is None else (self._customer_saved(found),)
