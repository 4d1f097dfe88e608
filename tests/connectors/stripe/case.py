"""Stripe in the contract suite."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from pathlib import Path

from connectors.base import RawDelivery, Secret
from connectors.stripe import CONNECTOR
from sandbox.stripe import StripeSandbox
from tests.contract.case import ContractCase


def signed(topic: str, body: bytes, secret: Secret, at: datetime, token: str) -> RawDelivery:
    """A post as Stripe makes it; the topic stands in the body."""
    moment = str(int(at.timestamp()))
    digest = hmac.new(secret.reveal().encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json; charset=utf-8",
        "stripe-signature": f"t={moment},v1={digest}",
    }
    return RawDelivery(headers, body, token)


CASE = ContractCase(
    connector=CONNECTOR,
    sandbox=StripeSandbox,
    payloads=Path(__file__).parent / "payloads",
    deliver=signed,
    time_is_signed=True,
)
