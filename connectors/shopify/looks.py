"""What some posts only name: a customer, a discount, or the shop itself is read again over the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from connectors.shopify.discounts import Discounts
from connectors.shopify.history import History
from connectors.shopify.webhooks import Look
from rewards.changes import Change, CouponSaved, LookAgain, StoreChanged
from rewards.records import ShopFacts


class Looks:
    """Reads what a LookAgain names. Raises PlatformError."""

    def __init__(
        self, history: History, discounts: Discounts, facts: Callable[[], Awaitable[ShopFacts]]
    ) -> None:
        self._history = history
        self._discounts = discounts
        self._facts = facts

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What there is to say of the thing now; nothing when it is gone."""
        match thing.kind:
            case Look.SHOP:
                return (StoreChanged(await self._facts()),)
            case Look.DISCOUNT:
                return [CouponSaved(coupon) for coupon in await self._discounts.look([thing.external_id])]
        found = await self._history.customer(thing.external_id)
        return () if found is None else (self._history.customer_saved(found),)
