"""The stand-in Shopify shop's discounts, and the goods that they count for, as GraphQL objects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sandbox.shopify_catalogue import PRODUCTS
from sandbox.shopify_discounts import BASIC, BXGY, FREE_SHIPPING, Discount, RedeemCode
from sandbox.shopify_views import View, Views, connection, z


class DiscountViews:
    """Builds views in the money of one shop; the clock decides a discount's status."""

    def __init__(self, views: Views, clock: Callable[[], datetime]) -> None:
        self._money = views.money
        self._clock = clock

    def view(self, found: Discount) -> View:
        """The DiscountCode object itself; its node is around it."""
        limited = found.customers is not None
        view: View = {
            "__typename": found.kind,
            "title": found.title,
            "status": found.status(self._clock()),
            "startsAt": z(found.starts_at),
            "endsAt": z(found.ends_at) if found.ends_at else None,
            "createdAt": z(found.created_at),
            "updatedAt": z(found.updated_at),
            "usageLimit": found.usage_limit,
            "usesPerOrderLimit": None,
            "asyncUsageCount": found.used,
            "appliesOncePerCustomer": found.once_per_customer,
            "tags": found.tags,
            "codesCount": {"count": len(found.codes), "precision": "EXACT"},
            "codes": lambda info, first=None, after=None, query=None, **_: self._codes(
                found, first, after, query
            ),
            "context": {
                "__typename": "DiscountCustomers" if limited else "DiscountBuyerSelectionAll",
                "all": "ALL",
                "customers": [{"id": f"gid://shopify/Customer/{n}"} for n in found.customers or []],
            },
        }
        view["combinesWith"] = {
            name: found.combines.get(name, False)
            for name in ("orderDiscounts", "productDiscounts", "shippingDiscounts")
        }
        if found.kind in (BASIC, FREE_SHIPPING):
            view["minimumRequirement"] = self._minimum(found.minimum_minor)
        if found.kind == BASIC:
            view["customerGets"] = {"value": self._value(found), "items": self._items(found)}
        if found.kind == BXGY:
            view |= self._two_for_one()
        return view

    def _two_for_one(self) -> View:
        """The one discount of this kind that the shop has: buy one of a collection, get a second for nothing."""
        items = self._goods("DiscountCollections", "collections", ["4000000001"])
        effect = {"__typename": "DiscountPercentage", "percentage": 1.0}
        gift = {"__typename": "DiscountOnQuantity", "quantity": {"quantity": "1"}, "effect": effect}
        return {
            "usesPerOrderLimit": None,
            "customerBuys": {"value": {"__typename": "DiscountQuantity", "quantity": "1"}, "items": items},
            "customerGets": {"value": gift, "items": items},
        }

    def _items(self, found: Discount) -> View:
        if found.products is not None:
            return self._goods("DiscountProducts", "products", found.products)
        if found.collections is not None:
            return self._goods("DiscountCollections", "collections", found.collections)
        return {"__typename": "AllDiscountItems", "allItems": True}

    def _goods(self, kind: str, name: str, numbers: list[str]) -> View:
        view = self.product if name == "products" else _collection
        return {
            "__typename": kind,
            name: lambda info, first=None, after=None, **_: connection(
                numbers, view=view, first=first, after=after
            ),
        }

    def product(self, number: str) -> View:
        """A product as far as discounts are concerned."""
        price = self._money(PRODUCTS[number])
        return {
            "__typename": "Product",
            "id": f"gid://shopify/Product/{number}",
            "priceRangeV2": {"maxVariantPrice": price, "minVariantPrice": price},
        }

    def _codes(self, found: Discount, first: int | None, after: str | None, query: str | None) -> View:
        words = (query or "").strip().strip('"').lower()
        chosen = [redeem for key, redeem in found.codes.items() if words in key]
        return connection(chosen, view=_code, first=first, after=after)

    def _value(self, found: Discount) -> View:
        if found.percentage is not None:
            return {"__typename": "DiscountPercentage", "percentage": found.percentage}
        amount = self._money(found.amount_minor or 0)
        return {"__typename": "DiscountAmount", "amount": amount, "appliesOnEachItem": False}

    def _minimum(self, minor: int | None) -> View | None:
        if minor is None:
            return None
        return {
            "__typename": "DiscountMinimumSubtotal",
            "greaterThanOrEqualToSubtotal": self._money(minor),
        }


def _code(redeem: RedeemCode) -> View:
    return {
        "id": f"gid://shopify/DiscountRedeemCode/{redeem.number}",
        "code": redeem.code,
        "asyncUsageCount": redeem.used,
    }


def _collection(number: str) -> View:
    return {"__typename": "Collection", "id": f"gid://shopify/Collection/{number}"}
