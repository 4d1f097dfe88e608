"""Reading Stripe's posts: who signed them, which event they are, and what they say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import stripe

from connectors.base import RawDelivery, Secret, StoreOptions
from connectors.stripe.webhooks import TOPICS, StripeWebhooks
from rewards.changes import (
    Change,
    CouponDeleted,
    CouponSaved,
    CustomerDeleted,
    CustomerSaved,
    Ignored,
    LookAgain,
    OrderSaved,
    RefundSaved,
    Uninstalled,
)
from rewards.errors import BadSignatureError, MalformedDeliveryError
from rewards.records import OrderStatus, RefundStatus
from tests.connectors.stripe.case import CASE, signed
from tests.contract.case import load_payload

SECRET, OTHER = Secret("whsec_first"), Secret("whsec_second")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPTIONS = StoreOptions("EUR", "Europe/Madrid", {"birthday_key": "birthday", "mode": "test"})
READER = StripeWebhooks()


def delivery(name: str, *, at: datetime = NOW, secret: Secret = SECRET) -> RawDelivery:
    payload = load_payload(CASE.payloads / f"{name}.json")
    return signed(payload.topic, payload.body, secret, at, "token")


def parsed(name: str, options: StoreOptions = OPTIONS) -> Change:
    (change,) = READER.parse(delivery(name), options)
    return change


def test_a_signature_of_the_sdk_is_genuine() -> None:
    body = b'{"id": "evt_1"}'
    header = stripe.WebhookSignature.generate_signature_header(
        body.decode(), SECRET.reveal(), timestamp=int(NOW.timestamp())
    )
    READER.verify(RawDelivery({"stripe-signature": header}, body, "token"), [SECRET], NOW)


def test_any_of_several_secrets_and_signatures_will_do() -> None:
    post = delivery("charge_succeeded", secret=OTHER)
    READER.verify(post, [SECRET, OTHER], NOW)
    rolling = {"stripe-signature": post.headers["stripe-signature"] + ",v1=" + "0" * 64 + ",v0=abc"}
    READER.verify(RawDelivery(rolling, post.body, "token"), [OTHER], NOW)
    with pytest.raises(BadSignatureError):
        READER.verify(post, [SECRET], NOW)
    with pytest.raises(BadSignatureError):
        READER.verify(post, [], NOW)


@pytest.mark.parametrize(("seconds", "genuine"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_counts_for_five_minutes_either_way(seconds: int, genuine: bool) -> None:
    post = delivery("charge_succeeded", at=NOW - timedelta(seconds=seconds))
    if genuine:
        READER.verify(post, [SECRET], NOW)
        return
    with pytest.raises(BadSignatureError):
        READER.verify(post, [SECRET], NOW)


@pytest.mark.parametrize(
    "header",
    ["", "t=,v1=aa", "t=1767225600", "v1=aa", "t=-5,v1=aa", "t=²,v1=aa", "t=1e9,v1=aa", "t=" + "9" * 4400 + ",v1=a",
     "t=1763726400,v1=é", ",,,"],
)  # fmt: skip
def test_an_unreadable_signature_is_refused_not_raised_through(header: str) -> None:
    with pytest.raises(BadSignatureError):
        READER.verify(RawDelivery({"stripe-signature": header}, b"{}", "token"), [SECRET], NOW)


def test_an_altered_body_is_refused() -> None:
    post = delivery("charge_succeeded")
    with pytest.raises(BadSignatureError):
        READER.verify(RawDelivery(post.headers, post.body + b" ", "token"), [SECRET], NOW)


def test_the_path_names_the_store_and_a_post_without_it_is_refused() -> None:
    assert READER.claimed_store(delivery("charge_succeeded")).token == "token"
    with pytest.raises(MalformedDeliveryError):
        READER.claimed_store(RawDelivery({}, b"{}"))


def test_a_delivery_is_known_by_its_event() -> None:
    post = delivery("charge_succeeded")
    assert READER.delivery_key(post) == json.loads(post.body)["id"]
    assert READER.topic(post) == "charge.succeeded"
    assert not READER.is_ping(post)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"id": 5}', b'{"id": ""}', b"\xff\xfe", b'{"id": "' + b"e" * 201 + b'"}']
)
def test_an_unreadable_body_is_known_by_its_digest_and_malformed(body: bytes) -> None:
    post = RawDelivery({}, body, "token")
    assert READER.delivery_key(post).startswith("sha256:")
    assert len(READER.delivery_key(post)) <= 200
    assert READER.delivery_key(post) != READER.delivery_key(RawDelivery({}, body + b"!", "token"))
    with pytest.raises(MalformedDeliveryError):
        READER.parse(post, OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {}},
        {"data": {"object": {}}},
        {"data": {"object": {"id": "ch_1", "created": "now"}}},
        {"livemode": 1},
    ],
)
def test_a_known_event_of_another_shape_is_malformed(change: dict[str, object]) -> None:
    body = json.dumps(json.loads(delivery("charge_succeeded").body) | change).encode()
    with pytest.raises(MalformedDeliveryError):
        READER.parse(RawDelivery({}, body, "token"), OPTIONS)


def test_a_time_beyond_the_calendar_is_malformed() -> None:
    event = json.loads(delivery("charge_succeeded").body)
    event["data"]["object"]["created"] = 10**15
    with pytest.raises(MalformedDeliveryError):
        READER.parse(RawDelivery({}, json.dumps(event).encode(), "token"), OPTIONS)


def test_an_unknown_event_says_nothing() -> None:
    event = json.loads(delivery("charge_succeeded").body) | {"type": "payout.paid"}
    assert READER.parse(RawDelivery({}, json.dumps(event).encode(), "token"), OPTIONS) == ()


@pytest.mark.parametrize(("livemode", "mode"), [(False, "live"), (True, "test")])
def test_an_event_of_the_other_mode_changes_nothing(livemode: bool, mode: str) -> None:
    event = json.loads(delivery("account_application_deauthorized").body) | {"livemode": livemode}
    options = StoreOptions("EUR", "Europe/Madrid", {"mode": mode})
    (change,) = READER.parse(RawDelivery({}, json.dumps(event).encode(), "token"), options)
    assert isinstance(change, Ignored)


def test_every_topic_has_a_payload_and_becomes_what_it_says() -> None:
    kinds = {
        "customer.created": CustomerSaved,
        "customer.updated": CustomerSaved,
        "customer.deleted": CustomerDeleted,
        "charge.succeeded": OrderSaved,
        "charge.captured": OrderSaved,
        "charge.refunded": OrderSaved,
        "refund.created": RefundSaved,
        "refund.updated": RefundSaved,
        "refund.failed": RefundSaved,
        "checkout.session.completed": OrderSaved,
        "checkout.session.async_payment_succeeded": OrderSaved,
        "checkout.session.async_payment_failed": OrderSaved,
        "charge.dispute.created": RefundSaved,
        "charge.dispute.updated": RefundSaved,
        "charge.dispute.closed": RefundSaved,
        "invoice.paid": LookAgain,
        "promotion_code.created": CouponSaved,
        "promotion_code.updated": CouponSaved,
        "coupon.created": CouponSaved,
        "coupon.updated": CouponSaved,
        "coupon.deleted": CouponDeleted,
        "account.application.deauthorized": Uninstalled,
    }
    assert set(kinds) == TOPICS
    for topic, kind in kinds.items():
        assert type(parsed(topic.replace(".", "_"))) is kind, topic


def test_a_refund_is_told_by_its_own_events_and_not_by_the_charge() -> None:
    charge = parsed("charge_refunded")
    assert isinstance(charge, OrderSaved)
    assert charge.order.refunds == ()
    assert charge.order.status is OrderStatus.PAID
    told = [parsed(f"refund_{what}") for what in ("created", "updated", "failed")]
    assert [(c.order_external_id, c.refund.total_minor, c.refund.status) for c in told if isinstance(c, RefundSaved)] == [
        (charge.order.external_id, 4_033, RefundStatus.PENDING),
        (charge.order.external_id, 4_033, RefundStatus.SUCCEEDED),
        (charge.order.external_id, 4_033, RefundStatus.FAILED),
    ]  # fmt: skip
