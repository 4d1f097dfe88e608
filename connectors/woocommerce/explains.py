"""What WooCommerce cannot do, or what a choice means there, in plain words for merchants."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.base import Capability
from rewards.records import Binding

# Named one by one: what is new among capabilities has to be built here first.
CAPABILITIES = frozenset(
    {
        Capability.READ_CUSTOMERS,
        Capability.READ_ORDERS,
        Capability.READ_COUPONS,
        Capability.WRITE_CODES,
        Capability.FREE_SHIPPING,
        Capability.CODES_FOR_GUESTS,
        Capability.CODE_RETURNS_ON_CANCEL,
        Capability.OPEN_CODES,
        Capability.FREE_PRODUCT,
        Capability.LIMIT_TO_PRODUCTS,
        Capability.LIMIT_TO_COLLECTIONS,
        Capability.COMBINES,
        Capability.SHARED_LIMIT_PER_CUSTOMER,
        Capability.WRITE_BIRTHDAY,
        Capability.WEBHOOKS,
        Capability.PINGS,
        Capability.LATE_WEBHOOKS,
        Capability.ORDERS_VANISH,
    }
)

EXPLAINS: Mapping[Capability | Binding, str] = {
    Binding.BOUND: (
        "The coupon can be used once, by whoever gives the member's e-mail address at the checkout, signed in or not."
    ),
    Binding.OPEN: "The coupon can be used once, by whoever has its code.",
    Capability.FIRST_TIME_ONLY: "WooCommerce's coupons cannot tell a first order from a later one.",
    Capability.STORE_CREDIT: (
        "WooCommerce has no store credit of its own, and those of plugins differ: give an amount or a percentage."
    ),
    Capability.GIFT_CARDS: (
        "WooCommerce has no gift cards of its own, and those of plugins differ: give an amount or a percentage."
    ),
    Capability.FREE_SHIPPING: (
        "The shop needs a shipping method Free shipping that asks for a coupon, in each zone that it ships to "
        "(WooCommerce, Settings, Shipping)."
    ),
    Capability.FREE_PRODUCT: (
        "The coupon takes 100 % off one unit. The shopper puts the product into the cart; where several are in it, the "
        "dearest becomes free."
    ),
    Capability.LIMIT_TO_PRODUCTS: (
        "A percentage counts for these products only; an amount comes off one unit of one of them. Products are named "
        "by their numbers."
    ),
    Capability.LIMIT_TO_COLLECTIONS: (
        "Collections are product categories, named by their numbers. With products and categories together, the cart "
        "must hold one of each."
    ),
    Capability.COMBINES: (
        "A code that does not combine is for individual use: it throws other coupons out of the cart, and none can be "
        "added to it."
    ),
    Capability.SHARED_LIMIT_PER_CUSTOMER: (
        "The shop counts by account and by e-mail address: whoever gives another address can use the coupon again."
    ),
    Capability.CODE_RETURNS_ON_CANCEL: (
        "A cancelled, failed or trashed order gives its code back, a refunded one does not. WooCommerce before 9.0 gives it "
        "back for cancelled orders only."
    ),
    Capability.PINGS: (
        "A WooCommerce shop only calls public addresses, and only on the ports 80, 443 and 8080; that it does not is told to "
        "nobody."
    ),
    Capability.WRITE_BIRTHDAY: (
        "Written into the customer's field that the store's setting birthday_key names, in the form of birthday_format."
    ),
}
