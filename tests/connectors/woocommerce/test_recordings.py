"""The recorded calls and posts of a real WooCommerce 11.0.1, given to the connector as they are."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.base import RawDelivery, Secret
from connectors.woocommerce.coupon_mapping import (
    CouponData,
    ItemError,
    batch_answer,
    coupon_change,
)
from connectors.woocommerce.mapping import (
    CustomerData,
    IndexData,
    OrderData,
    WebhookData,
    customer_change,
    order_change,
    time_zone,
)
from connectors.woocommerce.webhooks import TOPICS, WooCommerceWebhooks
from rewards.changes import CouponSaved, CustomerSaved, Ignored, OrderSaved
from rewards.errors import AccessRevokedError, RefusedError
from tests.connectors.woocommerce.shop import OPTIONS, RECORDINGS, answering

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="shared/ is not there")
SECRET = Secret("secreto-de-prueba-1")


def recordings(pattern: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted(RECORDINGS.glob(pattern))]


def posts() -> list[Any]:
    """The recorded deliveries, among them none of the calls that make webhooks."""
    return [
        param
        for param in recordings("webhook-*.json")
        if '"X-WC-Webhook-Topic"' in param.values[0].read_text()
    ]


def answer(path: Path) -> dict[str, Any]:
    response: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("response", {})
    return response


def bodies(noun: str) -> list[Any]:
    """Every good answer to a call of wc/v3/<noun> or wc/v3/<noun>/<id>, whatever the file's name."""
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "request" not in content:
            continue
        url = content["request"]["url"].partition("?")[0]
        is_whole = "_fields" not in content["request"]["url"]
        if re.search(rf"/wc/v3/{noun}(/\d+)?$", url) and content["response"]["status"] < 300 and is_whole:
            body = content["response"].get("body", [])  # a few were too long to keep
            found += [(path.stem, item) for item in (body if isinstance(body, list) else [body])]
    return found


def test_every_recorded_order_becomes_a_record_whose_parts_add_up() -> None:
    seen = bodies("orders")
    assert len(seen) > 10
    for name, body in seen:
        change = order_change(msgspec.convert(body, OrderData), OPTIONS)
        if body["status"] == "checkout-draft":
            assert isinstance(change, Ignored), name
            continue
        assert isinstance(change, OrderSaved), name
        order = change.order
        fees = sum(round(float(fee["total"]) * 100) for fee in body["fee_lines"])
        parts = order.subtotal_minor + order.tax_minor + order.shipping_minor + fees
        assert parts == order.total_minor, name
        assert order.external_id == str(body["id"])
        assert order.placed_at.replace(tzinfo=None).isoformat() == body["date_created_gmt"]
        assert list(order.codes) == [line["code"] for line in body["coupon_lines"]]
        assert (order.customer_external_id or "0") == str(body["customer_id"])


def test_every_recorded_customer_becomes_a_record() -> None:
    seen = bodies("customers")
    assert len(seen) > 15
    for name, body in seen:
        data = msgspec.json.decode(msgspec.json.encode(body), type=CustomerData)
        change = customer_change(data, OPTIONS)
        assert isinstance(change, CustomerSaved), name
        assert change.customer.email == (body["email"] or None)


def test_every_recorded_coupon_becomes_a_record() -> None:
    seen = bodies("coupons")
    assert len(seen) > 25
    for name, body in seen:
        data = msgspec.json.decode(msgspec.json.encode(body), type=CouponData)
        change = coupon_change(data, OPTIONS)
        assert isinstance(change, CouponSaved), name
        assert change.coupon.code == body["code"]
        assert change.coupon.is_active == (body["status"] == "publish")


def test_every_recorded_webhook_of_the_api_is_read() -> None:
    seen = bodies("webhooks")
    assert len(seen) > 8
    for _, body in seen:
        assert msgspec.convert(body, WebhookData).topic in TOPICS


@pytest.mark.parametrize("path", posts())
def test_recorded_posts_hold_their_signature_and_are_read(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    headers = {name.lower(): value for name, value in content["headers"].items()}
    delivery = RawDelivery(headers, content["body_text"].encode(), "token")
    reader = WooCommerceWebhooks()
    reader.verify(delivery, [SECRET], datetime.now(UTC))
    assert reader.parse(delivery, OPTIONS)
    assert not reader.is_ping(delivery)


def test_the_recorded_ping_is_one() -> None:
    content = json.loads((RECORDINGS / "webhook-ping.json").read_text(encoding="utf-8"))
    headers = {name.lower(): value for name, value in content["headers"].items()}
    assert WooCommerceWebhooks().is_ping(RawDelivery(headers, content["body_text"].encode(), "token"))


def test_the_recorded_batches_keep_their_places() -> None:
    mixed = batch_answer(json.dumps(answer(RECORDINGS / "coupons-batch-mixed.json")["body"]).encode())
    assert [type(item) for item in mixed] == [CouponData, ItemError]
    full = answer(RECORDINGS / "coupons-batch-100-with-duplicate.json")["body"]
    items = batch_answer(json.dumps(full).encode())
    assert [getattr(item, "code", "") for item in items].count(
        "woocommerce_rest_coupon_code_already_exists"
    ) == 1


def test_the_recorded_index_tells_the_time_zone() -> None:
    body = answer(RECORDINGS / "index-wp-json-fields.json")["body"]
    index = msgspec.convert(body, IndexData)
    assert time_zone(index) == "Europe/Madrid"
    assert "wc/v3" in index.namespaces


@pytest.mark.parametrize("path", recordings("error-*.json"))
async def test_recorded_refusals_become_the_right_error(path: Path) -> None:
    response = answer(path)
    status, code = response["status"], response["body"].get("code", "")
    expected = AccessRevokedError if status in (401, 403) else RefusedError
    async with answering((status, response["body"])) as (store, requests):
        with pytest.raises(expected) as caught:
            await store.unsubscribe("https://app.example/webhooks")
    assert len(requests) == 1
    assert response["body"]["message"] not in str(caught.value)
    if isinstance(caught.value, RefusedError):
        assert caught.value.code == code
