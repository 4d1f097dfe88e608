"""Our drafts to Shopify's discounts: what is asked for, and what Shopify cannot hold."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from connectors.base import Capability
from connectors.shopify.coupons import BASIC, FREE_SHIPPING, GIFT_TAG, POOL_TAG, DiscountNode, Goods
from connectors.shopify.mapping import gid
from rewards.money import decimal_text
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft

Content = dict[str, object]

OPEN_PUSH_SIZE = 10_000  # 40 calls that add 250 each, and one look at all of them at a time
MOST_GOODS = 100  # products or collections that one discount can name
_NO_GOODS = Goods()

_MADE = (BenefitKind.PERCENTAGE, BenefitKind.AMOUNT, BenefitKind.FREE_SHIPPING, BenefitKind.FREE_PRODUCT)


EXPLAINS: Mapping[Capability | Binding, str] = {
    Binding.BOUND: (
        "Each member gets a discount of their own, which only their customer record can use at checkout; the shop's "
        "list of discounts grows by one for each."
    ),
    Binding.OPEN: (
        "All codes of one reward and end date are in one discount; whoever holds a code can use it, once. Guests can "
        "have one too."
    ),
    Capability.FREE_PRODUCT: (
        "Shopify takes the price of the dearest of the named products off once; the shopper adds the product."
    ),
    Capability.FIRST_TIME_ONLY: "Shopify has no discount for first orders only: leave --first-time out.",
    Capability.CODES_FOR_GUESTS: (
        "Shopify binds a code to a customer record: members without one get none; --binding open would reach them."
    ),
    Capability.CODE_RETURNS_ON_CANCEL: "Shopify keeps the code of a cancelled order used.",
}


def why_not(draft: CodeDraft, currency: str) -> str | None:
    """Why Shopify cannot hold this draft, or None when it can."""
    benefit = draft.benefit
    if draft.binding is Binding.BOUND and draft.customer_external_id is None:
        return "Shopify binds a personal code to a customer record, and this member has none in the store."
    if benefit.kind is BenefitKind.AMOUNT and benefit.currency not in (None, currency):
        return f"The amount is in {benefit.currency}, but the shop's discounts are in {currency}."
    return why_not_benefit(benefit)


def why_not_benefit(benefit: Benefit) -> str | None:
    """Why Shopify cannot give this, in words that say what to do; None when it can."""
    products, collections = benefit.product_external_ids, benefit.collection_external_ids
    if benefit.kind not in _MADE:
        return "This kind of benefit cannot be made on Shopify."
    if benefit.first_time_only:
        return EXPLAINS[Capability.FIRST_TIME_ONLY]
    if any(not number.isascii() or not number.isdigit() for number in (*products, *collections)):
        return "Shopify's products and collections have numbers: give the one at the end of its address in the admin."
    if max(len(products), len(collections)) > MOST_GOODS:
        return f"A discount on Shopify names at most {MOST_GOODS} products or collections: name fewer."
    if benefit.kind is BenefitKind.FREE_SHIPPING and (products or collections):
        return "Free shipping on Shopify counts for the whole order: name no products or collections."
    if products and collections:
        return "A discount on Shopify counts for products or for collections: name only one of them."
    return None


def family(draft: CodeDraft) -> str:
    """The start of the names of the documents that make and change the draft's discount."""
    return "discount_free_shipping" if is_free_shipping(draft) else "discount_basic"


def is_free_shipping(draft: CodeDraft) -> bool:
    """Free shipping is made by mutations of its own."""
    return draft.benefit.kind is BenefitKind.FREE_SHIPPING


def is_kind_of(found: DiscountNode, draft: CodeDraft) -> bool:
    """True when the draft's benefit can be written into this discount."""
    return found.kind == (FREE_SHIPPING if is_free_shipping(draft) else BASIC)


def bound_input(draft: CodeDraft, currency: str, price_minor: int = 0, found: Goods = _NO_GOODS) -> Content:
    """The discount of one customer with its one code; of a draft that `why_not` lets pass.

    `price_minor` is what the dearest of a free product's choices costs.
    """
    content = _terms(draft, currency, found, price_minor) | {
        "title": draft.title,
        "code": draft.code,
        "startsAt": draft.starts_at,
        "appliesOncePerCustomer": True,
        "context": {"customers": {"add": [customer_gid(draft)]}},
    }
    return content | ({"tags": tags} if (tags := _tags(draft)) else {})


def bound_repair(
    draft: CodeDraft, found: DiscountNode, goods: Goods, currency: str, price_minor: int
) -> Content:
    """What makes a customer's discount, edited by somebody, say what the draft says again."""
    ours = customer_gid(draft)
    others = [customer for customer in found.customer_gids if customer != ours]
    content = bound_input(draft, currency, price_minor, goods)
    content["context"] = {"customers": {"add": [ours], **({"remove": others} if others else {})}}
    return content | _no_minimum(draft, found)


def pool_input(draft: CodeDraft, currency: str, price_minor: int, zone: str) -> Content:
    """The discount that everybody's codes of the draft's reward and end date share; its first code is the anchor."""
    last_day = draft.ends_at.astimezone(ZoneInfo(zone)).date()
    return _pool_terms(draft, currency, _NO_GOODS, price_minor) | {
        "title": f"{draft.title}, until {last_day.isoformat()}"[:255],
        "code": anchor(draft.reward_key, draft.ends_at),
        "startsAt": draft.starts_at,
    }


def pool_repair(
    draft: CodeDraft, found: DiscountNode, goods: Goods, currency: str, price_minor: int
) -> Content:
    """What makes a pool say what the draft says again; its codes, title and start stay."""
    return _pool_terms(draft, currency, goods, price_minor) | _no_minimum(draft, found)


def _pool_terms(draft: CodeDraft, currency: str, found: Goods, price_minor: int) -> Content:
    """The limit of one use counts for each code; a customer who was given two may use both."""
    whose: Content = {"appliesOncePerCustomer": False, "context": {"all": "ALL"}, "tags": _tags(draft)}
    return _terms(draft, currency, found, price_minor) | whose


def anchor(reward_key: str, ends_at: datetime) -> str:
    """The first code of a pool: the same whoever asks, so that nobody makes a second pool, and unguessable for others.

    The reward's key is secret; codes are unique in a shop and found at once, which titles and tags are not.
    """
    text = f"{reward_key}\0{ends_at.astimezone(UTC).isoformat()}"
    digest = hashlib.sha256(text.encode()).digest()
    return f"POOL-{base64.b32encode(digest[:15]).decode()}"


def customer_gid(draft: CodeDraft) -> str:
    """The customer that the draft is for, as Shopify names it."""
    return gid("Customer", draft.customer_external_id or "")


def _terms(draft: CodeDraft, currency: str, found: Goods, price_minor: int) -> Content:
    """What it gives, until when, how often, beside what. `found`: what an edited discount is limited to now."""
    benefit = draft.benefit
    combines = {"orderDiscounts": draft.combines, "productDiscounts": draft.combines}
    # Shipping does not combine with shipping.
    combines["shippingDiscounts"] = draft.combines and not is_free_shipping(draft)
    content: Content = {"endsAt": draft.ends_at, "usageLimit": 1, "combinesWith": combines}
    if benefit.minimum_minor:
        content["minimumRequirement"] = _minimum_input(decimal_text(benefit.minimum_minor, currency))
    if is_free_shipping(draft):
        return content | {"destination": {"all": True}}
    value = _value(benefit, currency, price_minor)
    return content | {"customerGets": {"value": value, "items": _items(benefit, found)}}


def _value(benefit: Benefit, currency: str, price_minor: int) -> Content:
    """A free product is its price, taken off once: 100 % would give every unit in the cart."""
    if benefit.kind is BenefitKind.PERCENTAGE:
        return {"percentage": (benefit.basis_points or 0) / 10_000}
    is_gift = benefit.kind is BenefitKind.FREE_PRODUCT
    amount = decimal_text(price_minor if is_gift else benefit.amount_minor or 0, currency)
    return {"discountAmount": {"amount": amount, "appliesOnEachItem": False}}


def _tags(draft: CodeDraft) -> list[str]:
    tags = [POOL_TAG] if draft.binding is Binding.OPEN else []
    return [*tags, GIFT_TAG] if draft.benefit.kind is BenefitKind.FREE_PRODUCT else tags


def _items(benefit: Benefit, found: Goods) -> Content:
    if benefit.product_external_ids:
        return _products(benefit.product_external_ids, found.products)
    if benefit.collection_external_ids:
        return _collections(benefit.collection_external_ids, found.collections)
    return {"all": True}


def _products(numbers: Sequence[str], found: Sequence[str]) -> Content:
    wanted = [gid("Product", number) for number in numbers]
    removed = [product for product in found if product not in wanted]
    return {"products": {"productsToAdd": wanted} | ({"productsToRemove": removed} if removed else {})}


def _collections(numbers: Sequence[str], found: Sequence[str]) -> Content:
    wanted = [gid("Collection", number) for number in numbers]
    removed = [collection for collection in found if collection not in wanted]
    return {"collections": {"add": wanted} | ({"remove": removed} if removed else {})}


def _no_minimum(draft: CodeDraft, found: DiscountNode) -> Content:
    if found.has_minimum and not draft.benefit.minimum_minor:
        return {"minimumRequirement": _minimum_input(None)}
    return {}


def _minimum_input(amount: str | None) -> Content:
    return {"subtotal": {"greaterThanOrEqualToSubtotal": amount}}
