"""WooCommerce's part of the contract suite."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from pathlib import Path

from connectors.base import RawDelivery, Secret
from connectors.woocommerce import CONNECTOR
from sandbox.woocommerce import WooCommerceSandbox
from tests.contract.case import ContractCase


def deliver(topic: str, body: bytes, secret: Secret, signed_at: datetime, token: str) -> RawDelivery:
    """A post as WooCommerce sends it; the time is not part of it."""
    signature = base64.b64encode(hmac.new(secret.reveal().encode(), body, hashlib.sha256).digest()).decode()
    headers = {
        "content-type": "application/json",
        "user-agent": "WooCommerce/11.0.1 Hookshot (WordPress/7.0.4)",
        "x-wc-webhook-topic": topic,
        "x-wc-webhook-resource": topic.partition(".")[0],
        "x-wc-webhook-event": topic.partition(".")[2],
        "x-wc-webhook-signature": signature,
        "x-wc-webhook-id": "3",
        "x-wc-webhook-delivery-id": "62dce22ff804f16791110b4d89310500",
    }
    return RawDelivery(headers, body, token)


CASE = ContractCase(
    connector=CONNECTOR,
    sandbox=WooCommerceSandbox,
    payloads=Path(__file__).parent / "payloads",
    deliver=deliver,
    time_is_signed=False,
)
