"""What Shopify's posts claim, prove and say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connectors.base import RawDelivery, Secret, StoreClaim, StoreOptions
from connectors.shopify import CONNECTOR
from connectors.shopify.webhooks import finished_key
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
from rewards.errors import BadSignatureError, MalformedDeliveryError
from tests.connectors.shopify.case import PAYLOADS, deliver
from tests.contract.case import load_payload

READER = CONNECTOR.webhooks
SECRET = Secret("shpss_of_the_tests")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPTIONS = StoreOptions("EUR", "Europe/Madrid")
CUSTOMER, ORDER = "706405506930370084", "820982911946154508"


def delivery(name: str, token: str = "") -> RawDelivery:
    payload = load_payload(PAYLOADS / f"{name}.json")
    return deliver(payload.topic, payload.body, SECRET, NOW, token)


def change(name: str) -> Change:
    [only] = READER.parse(delivery(name), OPTIONS)
    return only


def test_our_token_in_the_path_is_the_claim_where_there_is_one() -> None:
    claim = READER.claimed_store(delivery("orders-paid", "our-token"))
    assert claim == StoreClaim(token="our-token", external_id="small-shop.myshopify.com")


def test_the_shop_in_the_header_is_the_claim_otherwise() -> None:
    post = delivery("orders-paid")
    assert READER.claimed_store(post) == StoreClaim(external_id="small-shop.myshopify.com")
    shouted = replace(post, headers=post.headers | {"x-shopify-shop-domain": " Small-Shop.MyShopify.com"})
    assert READER.claimed_store(shouted) == StoreClaim(external_id="small-shop.myshopify.com")


@pytest.mark.parametrize("domain", ["", "evil.example", "x.myshopify.com.evil.example", "[", "a/../b"])
def test_a_post_from_no_shop_is_malformed(domain: str) -> None:
    with pytest.raises(MalformedDeliveryError):
        READER.claimed_store(RawDelivery({"x-shopify-shop-domain": domain}, b"{}"))


def test_the_signature_is_shopifys() -> None:
    """A vector worked out with openssl: printf '{"id":1}' | openssl dgst -sha256 -hmac hush -binary | base64."""
    signature = "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY="
    post = RawDelivery({"x-shopify-hmac-sha256": signature}, b'{"id":1}')
    READER.verify(post, [Secret("hush")], NOW)
    with pytest.raises(BadSignatureError):
        READER.verify(post, [Secret("hush ")], NOW)


def test_all_tries_of_a_delivery_share_a_key_and_other_deliveries_do_not() -> None:
    post = delivery("orders-paid")
    later = replace(post, headers=post.headers | {"x-shopify-triggered-at": "2026-11-22T00:00:00Z"})
    assert READER.delivery_key(post) == READER.delivery_key(later) == post.headers["x-shopify-webhook-id"]
    bare = {name: text for name, text in post.headers.items() if name != "x-shopify-webhook-id"}
    without = replace(post, headers=bare)
    other_topic = replace(without, headers=bare | {"x-shopify-topic": "orders/updated"})
    keys = {READER.delivery_key(p) for p in (without, other_topic, replace(without, body=b"{}"))}
    assert len(keys) == 3
    too_long = replace(post, headers=post.headers | {"x-shopify-webhook-id": "x" * 5_000})
    assert len(READER.delivery_key(too_long)) <= 200


def test_the_post_of_an_exports_end_is_found_by_the_export() -> None:
    post = delivery("bulk_operations-finish")
    key = finished_key("gid://shopify/BulkOperation/147595010")
    assert READER.delivery_key(post) == key
    twice = replace(post, headers=post.headers | {"x-shopify-webhook-id": "by another subscription"})
    assert READER.delivery_key(twice) == key, "one end, however often it is told"
    for body in (b"{", b"{}", b'{"admin_graphql_api_id": "' + b"x" * 500 + b'"}'):
        assert READER.delivery_key(replace(post, body=body)) == post.headers["x-shopify-webhook-id"]


@pytest.mark.parametrize("name", ["orders-create", "orders-paid", "orders-updated", "orders-cancelled"])
def test_orders_are_saved_as_they_are_now(name: str) -> None:
    saved = change(name)
    assert isinstance(saved, OrderSaved)
    assert saved.order.external_id == ORDER
    assert saved.order.codes == ("bday-7f3k9q2m",)
    assert (saved.order.paid_at is not None) is (name in ("orders-paid", "orders-updated"))
    assert (saved.order.cancelled_at is not None) is (name == "orders-cancelled")


def test_a_refund_names_its_order() -> None:
    saved = change("refunds-create")
    assert isinstance(saved, RefundSaved)
    assert saved.order_external_id == ORDER
    assert saved.refund.total_minor == 4_840
    in_order = change("orders-updated")
    assert isinstance(in_order, OrderSaved)
    assert in_order.order.refunds == (saved.refund,)


def test_customers_are_saved_and_deleted() -> None:
    saved = change("customers-update")
    assert isinstance(saved, CustomerSaved)
    assert saved.customer.external_id == CUSTOMER
    assert change("customers-delete") == CustomerDeleted(CUSTOMER)


def test_what_is_gone_is_gone() -> None:
    assert change("orders-delete") == OrderDeleted(ORDER, deleted_at=None)
    assert change("discounts-delete") == CouponDeleted("1057856741")
    assert change("app-uninstalled") == Uninstalled(NOW)


def test_a_finished_merge_names_both_and_has_the_kept_one_read_again() -> None:
    gone = "706405506930370085"
    assert list(READER.parse(delivery("customers-merge"), OPTIONS)) == [
        LookAgain("customer", CUSTOMER),
        CustomersMerged(CUSTOMER, gone),
    ]
    assert isinstance(change("customers-merge-failed"), Ignored)


def test_what_a_post_only_names_is_read_again() -> None:
    assert change("customers_email_marketing_consent-update") == LookAgain("customer", CUSTOMER)
    assert change("discounts-create") == LookAgain("discount", "1057856741")
    assert change("discounts-update") == LookAgain("discount", "1057856741")
    assert change("shop-update") == change("app-scopes_update") == LookAgain("shop", "")


def test_privacy_requests_name_the_person_or_the_whole_shop() -> None:
    email = "ada.berg@people.example"
    assert change("customers-data_request") == PrivacyRequested("export", CUSTOMER, email)
    assert change("customers-redact") == PrivacyRequested("erase", CUSTOMER, email)
    assert change("shop-redact") == PrivacyRequested("erase", None, None)


def test_a_privacy_request_that_names_nobody_never_erases_the_shop() -> None:
    post = deliver("customers/redact", b'{"shop_id": 1, "customer": {}}', SECRET, NOW, "")
    with pytest.raises(MalformedDeliveryError):
        READER.parse(post, OPTIONS)


@pytest.mark.parametrize(
    "name",
    [
        "orders-edited",
        "discounts-create-own",
        "discounts-create-automatic",
        "discounts-redeemcode_added",
        "discounts-redeemcode_removed",
        "bulk_operations-finish",
    ],
)
def test_topics_without_effect_say_why(name: str) -> None:
    ignored = change(name)
    assert isinstance(ignored, Ignored)
    assert ignored.reason


def test_an_unknown_topic_is_no_error() -> None:
    assert READER.parse(deliver("products/create", b"{}", SECRET, NOW, ""), OPTIONS) == ()


@pytest.mark.parametrize("body", [b"[]", b'{"id": "x"}', b'{"id": 1, "currency": "EUR"}', b"\xff"])
def test_a_signed_body_of_another_shape_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDeliveryError):
        READER.parse(deliver("orders/paid", body, SECRET, NOW, ""), OPTIONS)


def test_an_amount_that_is_no_number_is_malformed() -> None:
    payload = load_payload(PAYLOADS / "orders-paid.json")
    body = payload.body.replace(b'"total_price":"107.80"', b'"total_price":"a lot"')
    assert body != payload.body
    with pytest.raises(MalformedDeliveryError):
        READER.parse(deliver("orders/paid", body, SECRET, NOW, ""), OPTIONS)
