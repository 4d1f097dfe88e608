"""Reading WooCommerce's posts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.base import RawDelivery, Secret, StoreClaim
from connectors.woocommerce.webhooks import WooCommerceWebhooks
from rewards.changes import CouponDeleted, CouponSaved, CustomerDeleted, Ignored, OrderDeleted, OrderSaved
from rewards.errors import MalformedDeliveryError
from tests.connectors.woocommerce.case import deliver
from tests.connectors.woocommerce.shop import OPTIONS
from tests.contract.case import load_payload

READER = WooCommerceWebhooks()
SECRET = Secret("s")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
PAYLOADS = Path(__file__).parent / "payloads"


def post(topic: str, body: object) -> RawDelivery:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return deliver(topic, content, SECRET, NOW, "token-1")


def recorded(name: str) -> RawDelivery:
    payload = load_payload(PAYLOADS / f"{name}.json")
    return post(payload.topic, payload.body)


def test_the_ping_is_known_by_its_form_and_its_missing_headers() -> None:
    ping = RawDelivery({"content-type": "application/x-www-form-urlencoded"}, b"webhook_id=12", "token-1")
    assert READER.is_ping(ping)
    assert not READER.is_ping(replace(ping, body=b"webhook_id=12&x=1"))
    assert not READER.is_ping(replace(ping, body=b'{"id": 1}'))
    assert not READER.is_ping(replace(ping, headers={"x-wc-webhook-topic": "order.created"}))


def test_the_store_is_named_by_the_path_alone() -> None:
    assert READER.claimed_store(post("order.deleted", {"id": 1})) == StoreClaim(token="token-1")
    with pytest.raises(MalformedDeliveryError):
        READER.claimed_store(replace(post("order.deleted", {"id": 1}), path_token=""))


def test_deliveries_of_one_second_share_an_id_and_are_still_told_apart() -> None:
    one, two = post("order.updated", {"id": 1}), post("order.updated", {"id": 2})
    assert one.headers["x-wc-webhook-delivery-id"] == two.headers["x-wc-webhook-delivery-id"]
    assert READER.delivery_key(one) != READER.delivery_key(two)
    assert READER.delivery_key(one) != READER.delivery_key(post("order.created", {"id": 1}))


def test_the_same_state_sent_again_is_a_repeat_whatever_its_delivery_id() -> None:
    one = post("order.updated", {"id": 1})
    later = replace(one, headers={**one.headers, "x-wc-webhook-delivery-id": "other"})
    assert READER.delivery_key(one) == READER.delivery_key(later)


def test_a_second_removal_of_a_restored_order_is_no_repeat() -> None:
    one = post("order.deleted", {"id": 1})
    later = replace(one, headers={**one.headers, "x-wc-webhook-delivery-id": "other"})
    assert READER.delivery_key(one) != READER.delivery_key(later)
    assert READER.delivery_key(one) == READER.delivery_key(replace(one))


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        ("order.deleted", OrderDeleted("7", None)),
        ("customer.deleted", CustomerDeleted("7")),
        ("coupon.deleted", CouponDeleted("7")),
    ],
)
def test_a_removal_holds_an_id_only(topic: str, change: object) -> None:
    assert READER.parse(post(topic, {"id": 7}), OPTIONS) == (change,)


def test_another_topics_body_cannot_pass_as_a_removal() -> None:
    body = recorded("order-updated-guest").body
    with pytest.raises(MalformedDeliveryError):
        READER.parse(post("order.deleted", body), OPTIONS)


def test_created_and_updated_are_both_saved() -> None:
    body = recorded("order-updated-guest").body
    created = READER.parse(post("order.created", body), OPTIONS)
    assert created == READER.parse(post("order.updated", body), OPTIONS)
    assert isinstance(created[0], OrderSaved)


def test_an_error_body_and_a_draft_are_left_out_on_purpose() -> None:
    for name in ("order-created-error-body", "order-created-draft-of-refused-create"):
        assert [type(change) for change in READER.parse(recorded(name), OPTIONS)] == [Ignored]


def test_an_unknown_topic_has_no_changes() -> None:
    assert READER.parse(post("product.updated", {"id": 1}), OPTIONS) == ()


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("order.created", b"{"),
        ("order.created", b"\xff\xfe"),
        ("order.created", b'"text"'),
        ("order.created", {"id": 5}),
        ("order.created", {"id": "5"}),
        ("order.deleted", {}),
        ("coupon.updated", {"id": 5, "code": 7}),
        ("customer.updated", {"id": 5, "meta_data": "x"}),
    ],
)
def test_a_body_of_another_shape_is_malformed(topic: str, body: Any) -> None:
    with pytest.raises(MalformedDeliveryError, match=topic):
        READER.parse(post(topic, body), OPTIONS)


def test_an_order_with_an_amount_that_is_none_is_malformed() -> None:
    body = recorded("order-updated-guest").body
    bent = json.loads(body) | {"total": "gratis"}
    with pytest.raises(MalformedDeliveryError):
        READER.parse(post("order.updated", bent), OPTIONS)


def test_a_list_with_a_gap_is_an_object_and_means_the_same() -> None:
    """As a real shop sends a coupon of which one of two e-mails was none."""
    body = {**json.loads(recorded("coupon-updated").body), "email_restrictions": {"1": "A@b.example"}}
    (change,) = READER.parse(post("coupon.updated", body), OPTIONS)
    assert isinstance(change, CouponSaved)
    assert change.coupon.emails == ("a@b.example",)
