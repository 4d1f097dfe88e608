"""Shopify's part of the contract suite."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from datetime import UTC, datetime
from pathlib import Path

from connectors.base import RawDelivery, Secret
from connectors.shopify import CONNECTOR
from sandbox.shopify import ShopifySandbox
from tests.contract.case import ContractCase

PAYLOADS = Path(__file__).parent / "payloads"


def deliver(topic: str, body: bytes, secret: Secret, signed_at: datetime, token: str) -> RawDelivery:
    """A post as Shopify makes it: the body is signed, the time is not."""
    signature = base64.b64encode(hmac.new(secret.reveal().encode(), body, hashlib.sha256).digest()).decode()
    headers = {
        "content-type": "application/json",
        "x-shopify-topic": topic,
        "x-shopify-hmac-sha256": signature,
        "x-shopify-shop-domain": "small-shop.myshopify.com",
        "x-shopify-api-version": "2026-10",
        "x-shopify-webhook-id": str(uuid.uuid5(uuid.NAMESPACE_URL, topic + hashlib.sha256(body).hexdigest())),
        "x-shopify-event-id": str(uuid.uuid5(uuid.NAMESPACE_URL, topic)),
        "x-shopify-triggered-at": signed_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    return RawDelivery(headers, body, token)


CASE = ContractCase(
    connector=CONNECTOR,
    sandbox=ShopifySandbox,
    payloads=PAYLOADS,
    deliver=deliver,
    time_is_signed=False,
)
