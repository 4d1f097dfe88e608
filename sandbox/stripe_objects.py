"""The objects of the stand-in for Stripe: what is kept of each, and how the API shows it.

Kept small and shown in full: a shop of 200,000 orders must fit into memory. Shapes: Stripe's OpenAPI document.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

Json = dict[str, Any]

_NO_ADDRESS = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}
_CARD = {
    "card": {
        "amount_authorized": None,
        "brand": "visa",
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "ES",
        "exp_month": 8,
        "exp_year": 2030,
        "fingerprint": "AOB934RVNwzk6xtn",
        "funding": "credit",
        "installments": None,
        "last4": "4242",
        "mandate": None,
        "network": "visa",
        "network_token": {"used": False},
        "three_d_secure": None,
        "wallet": None,
    },
    "type": "card",
}

# What a Checkout session may have and these have not.
_NO_SESSION_PARTS: Json = dict.fromkeys(
    (
        "adaptive_pricing after_expiration billing_address_collection cancel_url client_reference_id "
        "client_secret collected_information consent consent_collection currency_conversion customer_account "
        "customer_email invoice invoice_creation locale origin_context payment_link "
        "payment_method_configuration_details permissions recovered_from saved_payment_method_options "
        "setup_intent shipping_address_collection shipping_cost submit_type subscription url wallet_options "
    ).split()
)


@dataclass(slots=True, eq=False)
class Row(ABC):
    """Anything with an id and a time of creation, in unix seconds."""

    id: str
    created: int
    object: ClassVar[str] = ""

    @abstractmethod
    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        """The object as the API gives it."""


@dataclass(slots=True, eq=False)
class CustomerRow(Row):
    email: str | None
    name: str | None
    metadata: dict[str, str]
    locale: str | None = None
    phone: str | None = None
    object: ClassVar[str] = "customer"

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        return {
            "id": self.id,
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": self.created,
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": self.email,
            "invoice_prefix": self.id[-8:].upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": self.metadata,
            "name": self.name,
            "next_invoice_sequence": 1,
            "phone": self.phone,
            "preferred_locales": [self.locale] if self.locale else [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        }


@dataclass(slots=True, eq=False)
class RefundRow(Row):
    amount: int
    currency: str
    charge: str
    payment_intent: str | None
    status: str
    object: ClassVar[str] = "refund"

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        shown = {
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "balance_transaction": None,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "destination_details": {"card": {"type": "refund"}, "type": "card"},
            "metadata": {},
            "payment_intent": self.payment_intent,
            "reason": None,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": self.status,
            "transfer_reversal": None,
        }
        if self.status == "failed":
            shown["failure_reason"] = "expired_or_canceled_card"
        return shown


@dataclass(slots=True, eq=False)
class ChargeRow(Row):
    amount: int
    currency: str
    customer: str | None
    email: str | None
    name: str | None
    payment_intent: str | None
    succeeded: bool = True
    captured: bool = True
    refunds: list[RefundRow] = field(default_factory=list)
    object: ClassVar[str] = "charge"

    @property
    def refunded_minor(self) -> int:
        """What was or is being given back: a failed refund no longer counts."""
        return sum(refund.amount for refund in self.refunds if refund.status in ("succeeded", "pending"))

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        back = self.refunded_minor
        return {
            "id": self.id,
            "object": "charge",
            "amount": self.amount,
            "amount_captured": self.amount if self.succeeded and self.captured else 0,
            "amount_refunded": back,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": "txn_" + self.id[3:] if self.succeeded else None,
            "billing_details": {
                "address": _NO_ADDRESS,
                "email": self.email,
                "name": self.name,
                "phone": None,
                "tax_id": None,
            },
            "calculated_statement_descriptor": "MADE UP SHOP",
            "captured": self.captured and self.succeeded,
            "created": self.created,
            "currency": self.currency,
            "customer": self.customer,
            "description": None,
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": None if self.succeeded else "card_declined",
            "failure_message": None if self.succeeded else "Your card was declined.",
            "fraud_details": {},
            "livemode": False,
            "metadata": {},
            "on_behalf_of": None,
            "outcome": {
                "advice_code": None,
                "network_advice_code": None,
                "network_decline_code": None,
                "network_status": "approved_by_network" if self.succeeded else "declined_by_network",
                "reason": None if self.succeeded else "generic_decline",
                "risk_level": "normal",
                "seller_message": "Payment complete." if self.succeeded else "The bank declined the payment.",
                "type": "authorized" if self.succeeded else "issuer_declined",
            },
            "paid": self.succeeded,
            "payment_intent": self.payment_intent,
            "payment_method": "pm_" + self.id[3:],
            "payment_method_details": _CARD,
            "receipt_email": None,
            "receipt_number": None,
            "receipt_url": "https://pay.stripe.com/receipts/payment/" + self.id,
            "refunded": self.succeeded and 0 < self.amount <= back,
            "review": None,
            "shipping": None,
            "source_transfer": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "succeeded" if self.succeeded else "failed",
            "transfer_data": None,
            "transfer_group": None,
        }


@dataclass(slots=True, eq=False)
class SessionRow(Row):
    currency: str
    customer: str | None
    email: str | None
    payment_intent: str | None
    subtotal: int  # goods before discounts, tax and shipping
    discount: int = 0
    tax: int = 0
    shipping: int = 0
    status: str = "complete"
    payment_status: str = "paid"
    promotion_code: str | None = None
    mode: str = "payment"
    invoice: str | None = None
    subscription: str | None = None
    field: tuple[str, str] | None = None  # a custom field's key, and what was typed into it
    object: ClassVar[str] = "checkout.session"

    @property
    def total(self) -> int:
        return self.subtotal - self.discount + self.tax + self.shipping

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        discounts = [{"coupon": None, "promotion_code": self.promotion_code}] if self.promotion_code else []
        return {
            **_NO_SESSION_PARTS,
            "id": self.id,
            "object": "checkout.session",
            "allow_promotion_codes": True,
            "amount_subtotal": self.subtotal,
            "amount_total": self.total,
            "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
            "created": self.created,
            "currency": self.currency,
            "custom_fields": self._custom_fields(),
            "custom_text": {
                "after_submit": None,
                "shipping_address": None,
                "submit": None,
                "terms_of_service_acceptance": None,
            },
            "customer": self.customer,
            "customer_creation": "if_required",
            "customer_details": {
                "address": _NO_ADDRESS,
                "business_name": None,
                "email": self.email,
                "individual_name": None,
                "name": None,
                "phone": None,
                "tax_exempt": "none",
                "tax_ids": [],
            },
            "discounts": discounts,
            "expires_at": self.created + 86_400,
            "invoice": self.invoice,
            "livemode": False,
            "metadata": {},
            "mode": self.mode,
            "payment_intent": self.payment_intent,
            "payment_method_collection": "if_required",
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "payment_status": self.payment_status,
            "phone_number_collection": {"enabled": False},
            "shipping_options": [],
            "status": self.status,
            "subscription": self.subscription,
            "success_url": "https://shop.example/thanks",
            "total_details": {
                "amount_discount": self.discount,
                "amount_shipping": self.shipping,
                "amount_tax": self.tax,
            },
            "ui_mode": "hosted_page",
        }

    def _custom_fields(self) -> list[Json]:
        if self.field is None:
            return []
        key, value = self.field
        return [
            {
                "key": key,
                "label": {"custom": key.title(), "type": "custom"},
                "optional": True,
                "text": {
                    "default_value": None,
                    "maximum_length": None,
                    "minimum_length": None,
                    "value": value,
                },
                "type": "text",
            }
        ]


@dataclass(slots=True, eq=False)
class EventRow(Row):
    type: str
    data: Json  # the object as it was then
    request_id: str | None
    object: ClassVar[str] = "event"

    def show(
        self,
        expand: frozenset[str] = frozenset(),
        *,
        api_version: str = "2026-10-28.endive",
        pending: int = 0,
    ) -> Json:
        return {
            "id": self.id,
            "object": "event",
            "api_version": api_version,
            "created": self.created,
            "data": {"object": self.data},
            "livemode": False,
            "pending_webhooks": pending,
            "request": {"id": self.request_id, "idempotency_key": None},
            "type": self.type,
        }
