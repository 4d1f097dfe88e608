"""Stripe's webhook posts: signature, identity, and what they say. Pure: bytes and headers in, changes out.

Sources: docs.stripe.com/webhooks, docs.stripe.com/api/events. Events come in any order and more than once; they are
told apart by their id, and what they change is decided by the objects they hold.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from connectors.base import RawDelivery, Secret, StoreClaim, StoreOptions
from connectors.stripe import billing, birthdays, mapping
from connectors.stripe.client import API_VERSION
from connectors.stripe.looks import FilledSession, birthday_in
from rewards.changes import (
    Change,
    CouponDeleted,
    CouponSaved,
    CustomerDeleted,
    CustomerSaved,
    Ignored,
    LookAgain,
    Uninstalled,
)
from rewards.errors import BadSignatureError, MalformedDeliveryError

TOLERANCE_SECONDS = 300
_LONGEST_KEY = 200

T = TypeVar("T")
Parse = Callable[[msgspec.Raw, StoreOptions], Change]


class _Identity(msgspec.Struct, gc=False):
    id: str = ""
    type: str = ""


class _Origin(msgspec.Struct, gc=False):
    """Whose event it is: told by an app's Connect endpoint, and by thin events of an app."""

    livemode: bool
    account: str | None = None
    context: str | None = None


class _Data(msgspec.Struct, gc=False):
    object: msgspec.Raw


class _Event(msgspec.Struct, gc=False):
    type: str
    livemode: bool
    data: _Data
    created: int = 0
    account: str | None = None
    api_version: str | None = None


class _Related(msgspec.Struct, gc=False):
    id: str


class _ThinEvent(msgspec.Struct, gc=False):
    """An event that names its object and does not hold it (docs.stripe.com/event-destinations#thin-events)."""

    type: str
    livemode: bool
    related_object: _Related
    context: str | None = None


def _reader(shape: type[T], change: Callable[[T], Change]) -> Parse:
    decoder = msgspec.json.Decoder(shape)
    return lambda raw, _: change(decoder.decode(raw))


_customer = msgspec.json.Decoder(mapping.CustomerObject)
_order_of_charge = _reader(mapping.Charge, mapping.order_of_charge)
_order_of_session = _reader(mapping.Session, mapping.order_of_session)
_refund = _reader(mapping.RefundObject, mapping.refund_saved)
_coupon = _reader(mapping.CouponObject, mapping.coupon_saved)
_code = _reader(mapping.PromotionCode, mapping.code_saved)
_dispute = _reader(billing.Dispute, billing.dispute_saved)
_filled_session = msgspec.json.Decoder(FilledSession)


def _customer_saved(raw: msgspec.Raw, options: StoreOptions) -> Change:
    return mapping.customer_saved(_customer.decode(raw), options.settings)


def _birthday_typed(raw: msgspec.Raw, options: StoreOptions) -> Change:
    return birthday_in(_filled_session.decode(raw), options.settings)


_PARSERS: dict[str, Parse] = {
    "customer.created": _customer_saved,
    "customer.updated": _customer_saved,
    "customer.deleted": _reader(mapping.Deleted, lambda gone: CustomerDeleted(gone.id)),
    "charge.succeeded": _order_of_charge,
    "charge.captured": _order_of_charge,
    # The refund itself comes by refund.created; an id made up here would count it twice.
    "charge.refunded": _order_of_charge,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "checkout.session.completed": _order_of_session,
    "checkout.session.async_payment_succeeded": _order_of_session,
    "checkout.session.async_payment_failed": _reader(mapping.Session, mapping.order_that_failed),
    # The bank takes the money back at once; whose it is in the end is told when it is closed.
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.closed": _dispute,
    "invoice.paid": _reader(billing.Invoice, billing.invoice_paid),
    "promotion_code.created": _code,
    "promotion_code.updated": _code,
    "coupon.created": _coupon,
    "coupon.updated": _coupon,
    "coupon.deleted": _reader(mapping.Deleted, lambda gone: CouponDeleted(gone.id)),
}

# Thin events come only from an event destination; what they name is looked at again. No snapshot event says this.
THIN_TOPICS = {"v1.promotion_code.fully_redeemed": "promotion_code"}
# What is left of a deleted object has the same shape in all versions.
_GONE = ("customer.deleted", "coupon.deleted")
# Promotion codes got the shape that we read here (docs.stripe.com/changelog/clover/2025-09-30/polymorphic-coupon).
_READABLE_SINCE = "2025-09-30"
# What tells of objects that change in every way, so that only time says which word is the last.
_VERSIONED = ("customer.", "coupon.", "promotion_code.")
_COMPLETED = "checkout.session.completed"
UNINSTALLED = "account.application.deauthorized"
TOPICS = frozenset(_PARSERS) | {UNINSTALLED}
# What tells that an object came to be or changed; read back from the list of events where webhooks may have been lost.
TOPICS_BY_NOUN = {
    "customers": ("customer.created", "customer.updated", "customer.deleted"),
    "coupons": tuple(sorted(t for t in TOPICS if t.startswith(("coupon.", "promotion_code.")))),
    "orders": tuple(
        sorted(t for t in TOPICS if t.startswith(("charge.", "refund.", "checkout.", "invoice.")))
    ),
}

_identity = msgspec.json.Decoder(_Identity)
_origin = msgspec.json.Decoder(_Origin)
_event = msgspec.json.Decoder(_Event)
_id = msgspec.json.Decoder(mapping.Deleted)
_thin_event = msgspec.json.Decoder(_ThinEvent)


class StripeWebhooks:
    """Reads posts to a store's own webhook endpoint, whose address holds our token of the store, and to the one Connect
    endpoint of an app, whose posts name the account.
    """

    topics = TOPICS | frozenset(THIN_TOPICS)

    def is_ping(self, delivery: RawDelivery) -> bool:
        """Never: Stripe signs everything it sends."""
        return False

    def claimed_store(self, delivery: RawDelivery) -> StoreClaim:
        """The store of the token in the path; without one, the account and mode that the event names.

        Raises MalformedDeliveryError.
        """
        if delivery.path_token:
            return StoreClaim(token=delivery.path_token)
        try:
            origin = _origin.decode(delivery.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            origin = _Origin(False)
        account = origin.account or _account_of(origin.context)
        if not account:
            raise MalformedDeliveryError(
                "The webhook address must end in the store's token, or be that of an app's Connect endpoint."
            )
        return StoreClaim(external_id=f"{account}:{'live' if origin.livemode else 'test'}")

    def verify(self, delivery: RawDelivery, secrets: Sequence[Secret], now: datetime) -> None:
        """Returns if a secret signed these bytes within five minutes of `now`. Raises BadSignatureError."""
        time_text, signatures = _signature_header(delivery.headers.get("stripe-signature", ""))
        if abs(now.timestamp() - int(time_text)) > TOLERANCE_SECONDS:
            raise BadSignatureError(
                "The post was signed more than five minutes ago (or ahead); check the clock."
            )
        signed = time_text.encode() + b"." + delivery.body
        matches = False
        for secret in secrets:
            expected = hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest().encode()
            for signature in signatures:
                matches |= hmac.compare_digest(expected, signature.encode(errors="replace"))
        if not matches:
            raise BadSignatureError("No signature of the post belongs to this store's webhook secrets.")

    def delivery_key(self, delivery: RawDelivery) -> str:
        """The event's id; of a body that cannot be read, its digest."""
        event_id = _read_identity(delivery.body).id
        if 0 < len(event_id) <= _LONGEST_KEY:
            return event_id
        return "sha256:" + hashlib.sha256(delivery.body).hexdigest()

    def topic(self, delivery: RawDelivery) -> str:
        """The event's type."""
        return _read_identity(delivery.body).type

    def parse(self, delivery: RawDelivery, options: StoreOptions) -> Sequence[Change]:
        """What the event says; nothing for a type that we do not know. Raises MalformedDeliveryError."""
        try:
            if _read_identity(delivery.body).type in THIN_TOPICS:
                return _look_again(_thin_event.decode(delivery.body), options)
            return self._changes(_event.decode(delivery.body), options)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, OverflowError):
            raise MalformedDeliveryError(
                "The signed event cannot be read; resend it from the Dashboard."
            ) from None

    def _changes(self, event: _Event, options: StoreOptions) -> Sequence[Change]:
        if event.type not in TOPICS:
            return ()
        if elsewhere := _not_this_stores(event.livemode, event.account, options):
            return (elsewhere,)
        if event.type == UNINSTALLED and options.settings.get("access") == "key":
            return (Ignored("the app was taken out of an account that is connected with a key"),)
        if event.type == UNINSTALLED:
            return (Uninstalled(datetime.fromtimestamp(event.created, UTC) if event.created else None),)
        if event.type not in _GONE and not _is_readable(event.api_version):
            return (LookAgain(event.type, _id.decode(event.data.object).id),)
        found = changes_of_object(event.type, event.data.object, options)
        if not event.created or not event.type.startswith(_VERSIONED):
            return found
        at = datetime.fromtimestamp(event.created, UTC)
        return [_as_of(change, at) for change in found]


def _as_of(change: Change, at: datetime) -> Change:
    """What an event says of a customer, coupon or code, with the event's time as its version: Stripe gives no other.

    Events of one second come in any order; whichever of them was told last, the daily look reads their real order.
    """
    match change:
        case CustomerSaved(customer):
            return CustomerSaved(replace(customer, source_updated_at=at))
        case CouponSaved(coupon):
            return CouponSaved(replace(coupon, source_updated_at=at))
        case CustomerDeleted(external_id):
            return CustomerDeleted(external_id, at)
        case CouponDeleted(external_id):
            return CouponDeleted(external_id, at)
    return change


def _not_this_stores(is_live: bool, account: str | None, options: StoreOptions) -> Ignored | None:
    """Why an event is left alone: live endpoints get test events too, and a platform's hear of its accounts."""
    given = "live" if is_live else "test"
    mode = options.settings.get("mode", given)
    if given != mode:
        return Ignored(f"{given} event at the endpoint of a store in {mode} mode")
    if account is not None and account != options.settings.get("account", account):
        return Ignored("event of another account")
    return None


def _account_of(context: str | None) -> str | None:
    """The account of a thin event's context, in which an organization may stand before it: "org_…/acct_…"."""
    return context.rpartition("/")[2] if context else None


def _look_again(event: _ThinEvent, options: StoreOptions) -> Sequence[Change]:
    elsewhere = _not_this_stores(event.livemode, _account_of(event.context), options)
    return (elsewhere or LookAgain(THIN_TOPICS[event.type], event.related_object.id),)


def changes_of_object(topic: str, shown: msgspec.Raw, options: StoreOptions) -> Sequence[Change]:
    """What the object of an event says, in the version that we read."""
    change = _PARSERS[topic](shown, options)
    if topic == _COMPLETED and options.settings.get(birthdays.FIELD):
        return (change, _birthday_typed(shown, options))
    return (change,)


def _is_readable(version: str | None) -> bool:
    """True for the versions in which everything that we read has the same shape, "2026-10-28.endive"."""
    return version is None or _READABLE_SINCE <= version[:10] <= API_VERSION[:10]


def changes_of_event(body: msgspec.Raw, options: StoreOptions) -> Sequence[Change]:
    """What an event from the API's list of events says: the same as when it was posted."""
    return StripeWebhooks().parse(RawDelivery({}, bytes(body)), options)


def _signature_header(header: str) -> tuple[str, list[str]]:
    """The time and the v1 signatures of "t=…,v1=…,v1=…,v0=…". Raises BadSignatureError."""
    time_text, signatures = "", []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            time_text = value
        elif name == "v1":
            signatures.append(value)
    if not signatures or not (time_text.isascii() and time_text.isdigit() and len(time_text) <= 12):
        raise BadSignatureError("The post has no readable Stripe-Signature header.")
    return time_text, signatures


def _read_identity(body: bytes) -> _Identity:
    try:
        return _identity.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Identity()
