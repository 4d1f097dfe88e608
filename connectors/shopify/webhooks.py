"""Reads Shopify's webhook posts. Pure: bytes and headers in, changes out.

Source: shopify.dev/docs/apps/build/webhooks. The signature covers the body only, so nothing from the headers is
believed beyond finding the store, the topic and the repeats.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec

from connectors.base import RawDelivery, Secret, StoreClaim, StoreOptions
from connectors.shopify import customers, mapping
from connectors.shopify.shop import shop_domain
from rewards.changes import (
    Change,
    CouponDeleted,
    CustomerDeleted,
    CustomerSaved,
    CustomersMerged,
    Ignored,
    LookAgain,
    OrderDeleted,
    OrderSaved,
    PrivacyRequested,
    RefundSaved,
    Uninstalled,
)
from rewards.errors import AppError, BadSignatureError, MalformedDeliveryError

T = TypeVar("T")
# How the title of a discount of ours ends: with the occasion, and where many share it with its last day.
_OUR_TITLE = re.compile(r"\([a-z_]+:\d{4}\)(, until \d{4}-\d\d-\d\d)?$")
_LONGEST_GID = 100
_Reader = Callable[[bytes, StoreOptions], Sequence[Change]]


class Look(StrEnum):
    """What a LookAgain of ours can name."""

    CUSTOMER = "customer"
    DISCOUNT = "discount"
    SHOP = "shop"


class _Numbered(msgspec.Struct):
    id: int


class _Discount(msgspec.Struct):
    admin_graphql_api_id: str
    title: str = ""


class _Finished(msgspec.Struct):
    admin_graphql_api_id: str


class _Merge(msgspec.Struct):
    admin_graphql_api_customer_kept_id: str
    admin_graphql_api_customer_deleted_id: str
    status: str = ""


class _ConsentBody(msgspec.Struct):
    customer_id: int


class _PrivateCustomer(msgspec.Struct):
    id: int | None = None
    email: str | None = None


class _PrivacyBody(msgspec.Struct):
    customer: _PrivateCustomer = msgspec.field(default_factory=_PrivateCustomer)


def _read(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError:
        raise MalformedDeliveryError("The post's body is not what Shopify sends for its topic.") from None


def _customer(body: bytes, options: StoreOptions) -> Sequence[Change]:
    customer = _read(body, customers.CustomerBody)
    rules = customers.CustomerRules.of(options.settings)
    if rules.needs_tags:  # the post holds none
        return (LookAgain(Look.CUSTOMER, str(customer.id)),)
    return (CustomerSaved(customers.customer_from_body(customer, rules)),)


def _customer_deleted(body: bytes, options: StoreOptions) -> Sequence[Change]:
    return (CustomerDeleted(str(_read(body, _Numbered).id)),)


def _order(body: bytes, options: StoreOptions) -> Sequence[Change]:
    return (OrderSaved(mapping.order_from_body(_read(body, mapping.OrderBody))),)


def _order_deleted(body: bytes, options: StoreOptions) -> Sequence[Change]:
    return (OrderDeleted(str(_read(body, _Numbered).id), deleted_at=None),)


def _refund(body: bytes, options: StoreOptions) -> Sequence[Change]:
    refund = _read(body, mapping.RefundBody)
    if refund.order_id is None:
        raise MalformedDeliveryError("A refund came without its order's id.")
    return (RefundSaved(str(refund.order_id), mapping.refund_from_body(refund, options.currency)),)


def _customers_merged(body: bytes, options: StoreOptions) -> Sequence[Change]:
    """Told when the merge begins, too; only at its end are there one customer's facts."""
    merge = _read(body, _Merge)
    if merge.status.lower() != "completed":
        return (Ignored("The two customers are not merged (yet)."),)
    kept = mapping.external_id(merge.admin_graphql_api_customer_kept_id)
    gone = mapping.external_id(merge.admin_graphql_api_customer_deleted_id)
    return (LookAgain(Look.CUSTOMER, kept), CustomersMerged(kept, gone))


def _consent(body: bytes, options: StoreOptions) -> Sequence[Change]:
    """The post holds the consent only, without the version of the customer that it belongs to."""
    return (LookAgain(Look.CUSTOMER, str(_read(body, _ConsentBody).customer_id)),)


def _discount(body: bytes, options: StoreOptions) -> Sequence[Change]:
    """The post names the discount only. Our own are known, and so many that looking at each would cost too much."""
    told = _read(body, _Discount)
    if _OUR_TITLE.search(told.title):
        return (Ignored("One of our own discounts; their codes are compared every day."),)
    if "/DiscountAutomatic" in told.admin_graphql_api_id:
        return (Ignored("An automatic discount has no code."),)
    return (LookAgain(Look.DISCOUNT, mapping.external_id(told.admin_graphql_api_id)),)


def _shop_changed(body: bytes, options: StoreOptions) -> Sequence[Change]:
    _read(body, dict)
    return (LookAgain(Look.SHOP, ""),)


def _discount_deleted(body: bytes, options: StoreOptions) -> Sequence[Change]:
    return (CouponDeleted(mapping.external_id(_read(body, _Discount).admin_graphql_api_id)),)


def _privacy(kind: str) -> _Reader:
    def read(body: bytes, options: StoreOptions) -> Sequence[Change]:
        customer = _read(body, _PrivacyBody).customer
        number = None if customer.id is None else str(customer.id)
        if number is None and not customer.email:
            raise MalformedDeliveryError("A privacy request names neither a customer's id nor an e-mail.")
        return (PrivacyRequested(kind, number, customer.email or None),)

    return read


def _shop_redact(body: bytes, options: StoreOptions) -> Sequence[Change]:
    _read(body, dict)
    return (PrivacyRequested("erase", None, None),)


def _ignored(reason: str) -> _Reader:
    def read(body: bytes, options: StoreOptions) -> Sequence[Change]:
        _read(body, dict)
        return (Ignored(reason),)

    return read


_FINISHED = "bulk_operations/finish"

_READERS: dict[str, _Reader] = {
    "customers/create": _customer,
    "customers/update": _customer,
    "customers/delete": _customer_deleted,
    "customers/merge": _customers_merged,
    "customers_email_marketing_consent/update": _consent,
    "orders/create": _order,
    "orders/paid": _order,
    "orders/updated": _order,
    "orders/cancelled": _order,
    "orders/delete": _order_deleted,
    "orders/edited": _ignored("orders/updated tells the order as it is after the edit."),
    "refunds/create": _refund,
    "discounts/create": _discount,
    "discounts/update": _discount,
    "discounts/delete": _discount_deleted,
    "discounts/redeemcode_added": _ignored("The codes of a discount are compared every day."),
    "discounts/redeemcode_removed": _ignored("The codes of a discount are compared every day."),
    "app/scopes_update": _shop_changed,
    "shop/update": _shop_changed,
    _FINISHED: _ignored("Whoever waits for the export's end looks for this post."),
    "customers/data_request": _privacy("export"),
    "customers/redact": _privacy("erase"),
    "shop/redact": _shop_redact,
}

UNINSTALLED = "app/uninstalled"

# The privacy topics are subscribed in the app's TOML only; they are not in WebhookSubscriptionTopic.
COMPLIANCE_TOPICS = frozenset({"customers/data_request", "customers/redact", "shop/redact"})


def _uninstalled(delivery: RawDelivery) -> Sequence[Change]:
    """Only a header says when; Shopify tries for hours to deliver this, and the app may be back by then."""
    _read(delivery.body, dict)
    given = delivery.headers.get("x-shopify-triggered-at")
    return (Uninstalled(mapping.utc(datetime.fromisoformat(given)) if given else None),)


class ShopifyWebhooks:
    """The WebhookReader of Shopify."""

    topics: frozenset[str] = frozenset(_READERS) | {UNINSTALLED}

    def is_ping(self, delivery: RawDelivery) -> bool:
        """Shopify sends no unsigned posts."""
        return False

    def claimed_store(self, delivery: RawDelivery) -> StoreClaim:
        """Our token in the path where there is one (API subscriptions), and the shop that the header names."""
        shop = shop_domain(delivery.headers.get("x-shopify-shop-domain", ""))
        if delivery.path_token:
            # All shops of one app share its secret, so the token alone does not tell them apart.
            return StoreClaim(token=delivery.path_token, external_id=shop)
        if shop is None:
            raise MalformedDeliveryError("The post does not name a Shopify shop.")
        return StoreClaim(external_id=shop)

    def verify(self, delivery: RawDelivery, secrets: Sequence[Secret], now: datetime) -> None:
        """Checks base64(HMAC-SHA256(client secret, body)); several secrets while one is being replaced."""
        given = delivery.headers.get("x-shopify-hmac-sha256", "").encode(errors="replace")
        for secret in secrets:
            if hmac.compare_digest(signature(delivery.body, secret), given):
                return
        raise BadSignatureError("The post is not signed with this app's client secret.")

    def delivery_key(self, delivery: RawDelivery) -> str:
        """The webhook's id, which all tries of one delivery share; that of an export's end names the export."""
        if self.topic(delivery) == _FINISHED and (operation := _operation_in(delivery.body)):
            return finished_key(operation)
        given = delivery.headers.get("x-shopify-webhook-id", "")
        if given and len(given) <= 200:
            return given
        return hashlib.sha256(self.topic(delivery).encode() + b"\n" + delivery.body).hexdigest()

    def topic(self, delivery: RawDelivery) -> str:
        """Such as "orders/paid"."""
        return delivery.headers.get("x-shopify-topic", "")

    def parse(self, delivery: RawDelivery, options: StoreOptions) -> Sequence[Change]:
        """The changes of one delivery."""
        topic = self.topic(delivery)
        reader = _READERS.get(topic)
        try:
            if topic == UNINSTALLED:
                return _uninstalled(delivery)
            if reader is None:
                return ()
            return reader(delivery.body, options)
        except MalformedDeliveryError:
            raise
        except (AppError, ValueError):  # an amount that is no number, a time beyond the calendar
            raise MalformedDeliveryError("The post holds a value that cannot be used.") from None


def finished_key(operation: str) -> str:
    """The delivery key of the post that tells that this bulk operation (a gid) has ended."""
    return f"{_FINISHED} {operation}"


def _operation_in(body: bytes) -> str | None:
    try:
        operation = msgspec.json.decode(body, type=_Finished).admin_graphql_api_id
    except msgspec.MsgspecError:
        return None
    return operation if len(operation) <= _LONGEST_GID else None


def signature(body: bytes, secret: Secret) -> bytes:
    """What Shopify puts into X-Shopify-Hmac-Sha256."""
    return base64.b64encode(hmac.new(secret.reveal().encode(), body, hashlib.sha256).digest())
