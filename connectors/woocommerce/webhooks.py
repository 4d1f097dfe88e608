"""Reads WooCommerce's webhook posts. Pure: bytes and headers in, changes out.

Source: github.com/woocommerce/woocommerce, includes/class-wc-webhook.php, and recorded posts of 11.0.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from connectors.base import RawDelivery, Secret, StoreClaim, StoreOptions
from connectors.woocommerce.answers import mended
from connectors.woocommerce.coupon_mapping import (
    CouponData,
    coupon_change,
)
from connectors.woocommerce.mapping import (
    CustomerData,
    OrderData,
    customer_change,
    order_change,
)
from rewards.changes import Change, CouponDeleted, CustomerDeleted, Ignored, OrderDeleted
from rewards.errors import BadSignatureError, InvalidInputError, MalformedDeliveryError

TOPICS = frozenset(
    "customer.created customer.updated customer.deleted "
    "order.created order.updated order.deleted order.restored "
    "coupon.created coupon.updated coupon.deleted coupon.restored".split()
)
_PING = re.compile(rb"webhook_id=\d{1,20}")


class _Head(msgspec.Struct):
    """Just enough to tell a resource from an error body."""

    id: int | None = None


class _Removed(msgspec.Struct, forbid_unknown_fields=True):
    """All that a removal carries. More would be another topic's body: the signature does not cover the topic."""

    id: int


_HEAD = msgspec.json.Decoder(_Head)
_REMOVED = msgspec.json.Decoder(_Removed)
_ORDER = msgspec.json.Decoder(OrderData)
_CUSTOMER = msgspec.json.Decoder(CustomerData)
_COUPON = msgspec.json.Decoder(CouponData)

_SAVED: dict[str, Callable[[bytes, StoreOptions], Change]] = {
    "order": lambda body, options: order_change(_ORDER.decode(body), options),
    "customer": lambda body, options: customer_change(_CUSTOMER.decode(body), options),
    "coupon": lambda body, options: coupon_change(_COUPON.decode(body), options),
}
_DELETED: dict[str, Callable[[str], Change]] = {
    "order": lambda number: OrderDeleted(number, None),
    "customer": CustomerDeleted,
    "coupon": CouponDeleted,
}


def _saved(noun: str, body: bytes, options: StoreOptions) -> Change:
    try:
        return _SAVED[noun](body, options)
    except msgspec.ValidationError:
        return _SAVED[noun](mended(body), options)


class WooCommerceWebhooks:
    """The store is named by our token in the address; the body is signed, headers and time are not."""

    topics = TOPICS

    def is_ping(self, delivery: RawDelivery) -> bool:
        """The unsigned form post that WooCommerce sends while a webhook is being created."""
        if _PING.fullmatch(delivery.body) is None:
            return False
        return not any(name.startswith("x-wc-") for name in delivery.headers)

    def claimed_store(self, delivery: RawDelivery) -> StoreClaim:
        """The token in the path; the source header is no help, as anybody may write anything there."""
        if not delivery.path_token:
            raise MalformedDeliveryError(
                "The webhook's address lacks the store's token; connect the shop again."
            )
        return StoreClaim(token=delivery.path_token)

    def verify(self, delivery: RawDelivery, secrets: Sequence[Secret], now: datetime) -> None:
        """Base64 of HMAC-SHA256 over the exact bytes."""
        given = delivery.headers.get("x-wc-webhook-signature", "").encode("utf-8", "replace")
        holds = False
        for secret in secrets:
            digest = hmac.digest(secret.reveal().encode(), delivery.body, hashlib.sha256)
            holds |= hmac.compare_digest(base64.b64encode(digest), given)
        if not holds:
            raise BadSignatureError(
                "The webhook's signature does not match the shop's secret; connect the shop again."
            )

    def delivery_key(self, delivery: RawDelivery) -> str:
        """Topic and body: several deliveries within a second share their delivery id, so it tells nothing alone.

        A removal's body is only the resource's id, so there the delivery id tells a second removal (after the
        resource came back) from a repeat of the first.
        """
        topic = self.topic(delivery)
        parts = [topic.encode("utf-8", "replace"), delivery.body]
        if topic.endswith(".deleted"):
            parts.append(delivery.headers.get("x-wc-webhook-delivery-id", "").encode("utf-8", "replace"))
        return hashlib.sha256(b"\n".join(parts)).hexdigest()

    def topic(self, delivery: RawDelivery) -> str:
        """What the topic header says."""
        return delivery.headers.get("x-wc-webhook-topic", "")

    def parse(self, delivery: RawDelivery, options: StoreOptions) -> Sequence[Change]:
        """The resource as it was when the post was built: created and updated are both "saved"."""
        topic = self.topic(delivery)
        if topic not in TOPICS:
            return ()
        noun, _, event = topic.partition(".")
        try:
            if event == "deleted":
                return (_DELETED[noun](str(_REMOVED.decode(delivery.body).id)),)
            # A resource that was gone when its post was built gives a signed error body.
            if _HEAD.decode(delivery.body).id is None:
                return (Ignored("the resource was deleted before the shop could send it"),)
            return (_saved(noun, delivery.body, options),)
        except (msgspec.MsgspecError, UnicodeDecodeError, InvalidInputError) as error:
            raise MalformedDeliveryError(
                f"The body of a {topic} webhook cannot be read; look for a plugin that changes WooCommerce's webhooks."
            ) from error
