"""The stand-in Shopify shop's discounts: what may be made, what a checkout accepts."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sandbox.server import CheckoutRefused
from sandbox.shopify_catalogue import COLLECTIONS, PRODUCTS, Line, entitled

BASIC, FREE_SHIPPING, BXGY = "DiscountCodeBasic", "DiscountCodeFreeShipping", "DiscountCodeBxgy"
_FIRST_NUMBER = 1_200_000_001
_MOST_CUSTOMERS = 100
MOST_CODES = 20_000_000
TAKEN = "Code must be unique. Please try a different code."
FULL = "The shop has the most discount codes that are possible."

Errors = list[dict[str, Any]]


@dataclass(slots=True)
class RedeemCode:
    """One code of a discount; `added`: by a job of the app, after the discount was made."""

    number: int
    code: str
    used: int = 0
    added: bool = False


@dataclass(slots=True)
class Discount:
    """One code discount. `customers` None: everybody; else the customers' numbers in gids.

    `products` and `collections` None: all goods; else their numbers. `codes` by their text in small letters.
    """

    number: int
    kind: str
    title: str
    starts_at: datetime
    created_at: datetime
    updated_at: datetime
    codes: dict[str, RedeemCode] = field(default_factory=dict)
    ends_at: datetime | None = None
    usage_limit: int | None = None
    once_per_customer: bool = False
    customers: list[str] | None = None
    percentage: float | None = None
    amount_minor: int | None = None
    minimum_minor: int | None = None
    products: list[str] | None = None
    collections: list[str] | None = None
    combines: dict[str, bool] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    by_app: bool = False
    used_by: set[str] = field(default_factory=set)

    @property
    def code(self) -> str:
        """Its first code."""
        return next((redeem.code for redeem in self.codes.values()), "")

    @property
    def used(self) -> int:
        """How often it was used, by all its codes."""
        return sum(redeem.used for redeem in self.codes.values())

    def status(self, now: datetime) -> str:
        """ACTIVE, SCHEDULED or EXPIRED."""
        if self.ends_at is not None and self.ends_at <= now:
            return "EXPIRED"
        return "SCHEDULED" if self.starts_at > now else "ACTIVE"

    def off(self, subtotal_minor: int) -> int:
        """What it takes off goods of this price, all of which it counts for."""
        if self.percentage is not None:
            return round(subtotal_minor * self.percentage)
        return min(subtotal_minor, self.amount_minor or 0)

    def counts_for(self, lines: Sequence[Line], subtotal_minor: int) -> int:
        """The price of the goods that it counts for. A cart without lines holds goods that no discount names."""
        if self.products is None and self.collections is None:
            return subtotal_minor
        return entitled(lines, self.products, self.collections)


class DiscountBook:
    """All code discounts of a shop; codes are unique without regard to letter case."""

    def __init__(self, now: datetime) -> None:
        self._by_code: dict[str, Discount] = {}
        self._by_number: dict[int, Discount] = {}
        self._numbers = count(_FIRST_NUMBER)
        self.most_codes = MOST_CODES
        self._seed(now)

    def __iter__(self) -> Iterator[Discount]:
        return iter(self._by_number.values())

    def _seed(self, now: datetime) -> None:
        """What the merchant had before any app came."""
        start = (now - timedelta(days=200)).replace(microsecond=0)
        self._put(BASIC, "WELCOME10", "10 % for newcomers", start, percentage=0.1, once_per_customer=True)
        self._put(BASIC, "SPRING5", "Spring", start, amount_minor=500, minimum_minor=5_000).ends_at = (
            start + timedelta(days=60)
        )
        self._put(FREE_SHIPPING, "FREESHIP", "Free shipping", start, usage_limit=1_000)
        self._put(BXGY, "TWOFORONE", "Two for one", start)

    def _put(self, kind: str, code: str, title: str, at: datetime, **rest: Any) -> Discount:
        found = Discount(next(self._numbers), kind, title, at, at, at, **rest)
        self._by_number[found.number] = found
        self._hold(found, code)
        return found

    def _hold(self, found: Discount, code: str, *, added: bool = False) -> None:
        found.codes[code.lower()] = RedeemCode(next(self._numbers), code, added=added)
        self._by_code[code.lower()] = found

    def add_code(self, found: Discount, code: str) -> str | None:
        """Gives the discount one more code; or what Shopify has against it."""
        if code.lower() in self._by_code:
            return TAKEN
        if not 0 < len(code) <= 255 or "\n" in code:
            return "is too long (maximum is 255 characters)"
        if len(self._by_code) >= self.most_codes:
            return FULL
        self._hold(found, code, added=True)
        return None

    def remove_code(self, found: Discount, number: int) -> RedeemCode | None:
        """Takes the code with this number from the discount; None when it has none such."""
        for key, redeem in found.codes.items():
            if redeem.number == number:
                del found.codes[key], self._by_code[key]
                return redeem
        return None

    def by_code(self, code: str) -> Discount | None:
        """The discount that holds this code."""
        return self._by_code.get(code.strip().lower())

    def by_number(self, number: int) -> Discount | None:
        """The discount with this number."""
        return self._by_number.get(number)

    def create(
        self,
        kind: str,
        content: Mapping[str, Any],
        path: str,
        now: datetime,
        customers: Container[str],
        digits: int,
    ) -> tuple[Discount | None, Errors]:
        """The new discount, or what Shopify has against it."""
        needed = ["title", "code", "startsAt", "context"] + (["customerGets"] if kind == BASIC else [])
        errors = [
            _error([path, name], f"{name} can't be blank", "BLANK")
            for name in needed
            if not content.get(name)
        ]
        errors = errors or self._against(None, kind, content, path, customers)
        if errors:
            return None, errors
        made = self._put(kind, content["code"], content["title"], now, by_app=True)
        _write(made, content, digits)
        return made, []

    def update(
        self,
        number: int,
        kind: str,
        content: Mapping[str, Any],
        path: str,
        now: datetime,
        customers: Container[str],
        digits: int,
    ) -> tuple[Discount | None, Errors]:
        """The changed discount, or what Shopify has against it."""
        found = self._by_number.get(number)
        if found is None or found.kind != kind:
            return None, [_error(["id"], "Discount does not exist.", "INVALID")]
        errors = self._against(found, kind, content, path, customers)
        if errors:
            return None, errors
        if content.get("code"):
            self._rename(found, content["code"])
        found.title = content.get("title", found.title)
        found.updated_at = now
        _write(found, content, digits)
        return found, []

    def deactivate(self, number: int, now: datetime) -> tuple[Discount | None, Errors]:
        """Ends it now; nothing happens to one that has ended."""
        found = self._by_number.get(number)
        if found is None:
            return None, [_error(["id"], "Discount does not exist.", "INVALID")]
        if found.status(now) != "EXPIRED":
            found.ends_at = found.updated_at = now
        return found, []

    def delete(self, number: int) -> Discount | None:
        """Takes it out; None when there was none."""
        found = self._by_number.pop(number, None)
        for key in found.codes if found is not None else ():
            del self._by_code[key]
        return found

    def _rename(self, found: Discount, code: str) -> None:
        """Writes its first code anew."""
        key = next(iter(found.codes))
        redeem = found.codes.pop(key)
        del self._by_code[key]
        redeem.code = code
        found.codes = {code.lower(): redeem, **found.codes}
        self._by_code[code.lower()] = found

    def at_checkout(
        self,
        code: str,
        buyer: str,
        customer: str | None,
        subtotal_minor: int,
        now: datetime,
        lines: Sequence[Line] = (),
    ) -> Discount:
        """The discount that this buyer may use. Raises CheckoutRefused; below the minimum: "minimum_not_met".

        `customer` is the number of the customer record that the buyer's e-mail belongs to.
        """
        found = self.by_code(code)
        if found is None:
            raise CheckoutRefused("unknown_code")
        if found.status(now) != "ACTIVE":
            raise CheckoutRefused("expired")
        if found.customers is not None and customer not in found.customers:
            raise CheckoutRefused("wrong_customer")
        # The limit counts for each code, however many the discount holds.
        if found.usage_limit is not None and found.codes[code.strip().lower()].used >= found.usage_limit:
            raise CheckoutRefused("used_up")
        if found.once_per_customer and buyer in found.used_by:
            raise CheckoutRefused("used_up")
        if found.minimum_minor is not None and subtotal_minor < found.minimum_minor:
            raise CheckoutRefused("minimum_not_met")
        if not found.counts_for(lines, subtotal_minor):
            raise CheckoutRefused("other_products")
        return found

    def _against(
        self,
        found: Discount | None,
        kind: str,
        content: Mapping[str, Any],
        path: str,
        customers: Container[str],
    ) -> Errors:
        """Shopify's own checks, for those fields that are given."""
        errors: Errors = []
        holder = self.by_code(content["code"]) if content.get("code") else None
        if holder is not None and holder is not found:
            errors.append(_error([path, "code"], TAKEN, "TAKEN"))
        if found is None and len(self._by_code) >= self.most_codes:
            errors.append(_error([path, "code"], FULL, "EXCEEDED_MAX"))
        if _begins_late(content):
            errors.append(
                _error([path, "endsAt"], "Ends at needs to be after starts_at", "END_DATE_BEFORE_START_DATE")
            )
        context = content.get("context") or {}
        added = (context.get("customers") or {}).get("add") or []
        if len(added) > _MOST_CUSTOMERS:
            errors.append(_error([path, "context"], "Too many customers", "EXCEEDED_MAX"))
        if any(_number(gid) not in customers for gid in added):
            errors.append(_error([path, "context", "customers", "add"], "Customer not found", "INVALID"))
        if kind == FREE_SHIPPING and (content.get("combinesWith") or {}).get("shippingDiscounts"):
            errors.append(
                _error(
                    [path, "combinesWith"],
                    "The combinesWith settings are not valid for the discount class.",
                    "INVALID_COMBINES_WITH_FOR_DISCOUNT_CLASS",
                )
            )
        percentage = ((content.get("customerGets") or {}).get("value") or {}).get("percentage")
        if percentage is not None and not 0 < percentage <= 1:
            errors.append(
                _error([path, "customerGets"], "Value must be between 0.0 and 1.0", "VALUE_OUTSIDE_RANGE")
            )
        return errors + _wrong_goods(content, path)


def _wrong_goods(content: Mapping[str, Any], path: str) -> Errors:
    items = (content.get("customerGets") or {}).get("items") or {}
    named = [key for key in ("all", "products", "collections") if items.get(key)]
    if len(named) > 1:
        return [_error([path, "customerGets", "items"], "Items must be of one kind", "CONFLICT")]
    products = (items.get("products") or {}).get("productsToAdd") or []
    collections = (items.get("collections") or {}).get("add") or []
    unknown = {_number(gid) for gid in products} - PRODUCTS.keys()
    unknown |= {_number(gid) for gid in collections} - COLLECTIONS.keys()
    if unknown:
        return [_error([path, "customerGets", "items"], "Items are invalid", "INVALID")]
    return []


def _begins_late(content: Mapping[str, Any]) -> bool:
    start, end = content.get("startsAt"), content.get("endsAt")
    if not start or not end:
        return False
    return datetime.fromisoformat(end) <= datetime.fromisoformat(start)


def _write(target: Discount, content: Mapping[str, Any], digits: int) -> None:
    """Takes over the fields that are given; `digits` are the decimals of the shop's currency."""
    if content.get("startsAt"):
        target.starts_at = datetime.fromisoformat(content["startsAt"])
    if "endsAt" in content:
        target.ends_at = datetime.fromisoformat(content["endsAt"]) if content["endsAt"] else None
    if "usageLimit" in content:
        target.usage_limit = content["usageLimit"]
    if "appliesOncePerCustomer" in content:
        target.once_per_customer = bool(content["appliesOncePerCustomer"])
    if "tags" in content:
        target.tags = list(content["tags"] or [])
    if "minimumRequirement" in content:
        least = ((content["minimumRequirement"] or {}).get("subtotal") or {}).get(
            "greaterThanOrEqualToSubtotal"
        )
        target.minimum_minor = None if least is None else round(float(least) * 10**digits)
    value = (content.get("customerGets") or {}).get("value")
    if value:
        amount = (value.get("discountAmount") or {}).get("amount")
        target.percentage = value.get("percentage")
        target.amount_minor = None if amount is None else round(float(amount) * 10**digits)
    if content.get("combinesWith") is not None:
        target.combines = dict(content["combinesWith"])
    _write_goods(target, (content.get("customerGets") or {}).get("items") or {})
    _write_context(target, content.get("context") or {})


def _write_context(target: Discount, context: Mapping[str, Any]) -> None:
    if context.get("all"):
        target.customers = None
    elif context.get("customers"):
        asked = context["customers"]
        target.customers = _changed(target.customers, asked.get("add"), asked.get("remove"))


def _write_goods(target: Discount, items: Mapping[str, Any]) -> None:
    if items.get("all"):
        target.products = target.collections = None
    if items.get("products"):
        asked = items["products"]
        target.collections = None
        target.products = _changed(target.products, asked.get("productsToAdd"), asked.get("productsToRemove"))
    if items.get("collections"):
        asked = items["collections"]
        target.products = None
        target.collections = _changed(target.collections, asked.get("add"), asked.get("remove"))


def _changed(had: list[str] | None, add: list[str] | None, remove: list[str] | None) -> list[str]:
    removed = {_number(gid) for gid in remove or []}
    kept = [number for number in had or [] if number not in removed]
    return kept + [number for number in map(_number, add or []) if number not in kept]


def _number(gid: str) -> str:
    return gid.rpartition("/")[2]


def _error(path: list[str], message: str, code: str) -> dict[str, Any]:
    return {"field": path, "message": message, "code": code, "extraInfo": None}
