"""What the stand-in for Stripe knows of products, invoices, subscriptions and disputes.

Invoices are shown as after basil (2025-03-31): no charge, no payment intent, and `payments` only where it is expanded.
Shapes: Stripe's OpenAPI document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sandbox.stripe_objects import Json, Row

_NO_EVIDENCE: Json = dict.fromkeys(
    (
        "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure "
        "cancellation_rebuttal customer_communication customer_email_address customer_name customer_purchase_ip "
        "customer_signature duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id "
        "product_description receipt refund_policy refund_policy_disclosure refund_refusal_explanation service_date "
        "service_documentation shipping_address shipping_carrier shipping_date shipping_documentation "
        "shipping_tracking_number uncategorized_file uncategorized_text"
    ).split()
)


@dataclass(slots=True, eq=False)
class ProductRow(Row):
    name: str
    object: ClassVar[str] = "product"

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        return {
            "id": self.id,
            "object": "product",
            "active": True,
            "created": self.created,
            "default_price": None,
            "description": None,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": {},
            "name": self.name,
            "package_dimensions": None,
            "shippable": None,
            "tax_code": None,
            "type": "good",
            "unit_label": None,
            "updated": self.created,
            "url": None,
        }


@dataclass(slots=True, eq=False)
class DisputeRow(Row):
    amount: int
    currency: str
    charge: str
    payment_intent: str | None
    status: str = "needs_response"
    object: ClassVar[str] = "dispute"

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        return {
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "balance_transactions": [],
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "enhanced_eligibility_types": [],
            "evidence": {**_NO_EVIDENCE, "enhanced_evidence": {}},
            "evidence_details": {
                "due_by": self.created + 7 * 86_400,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            "is_charge_refundable": False,
            "livemode": False,
            "metadata": {},
            "payment_intent": self.payment_intent,
            "reason": "fraudulent",
            "status": self.status,
        }


@dataclass(slots=True, eq=False)
class DiscountRow(Row):
    """A code as it was used on an invoice; `coupon` and `promotion_code` are ids."""

    customer: str
    coupon: str
    promotion_code: str
    invoice: str | None = None
    subscription: str | None = None
    object: ClassVar[str] = "discount"

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        return {
            "id": self.id,
            "object": "discount",
            "checkout_session": None,
            "customer": self.customer,
            "customer_account": None,
            "end": None,
            "invoice": self.invoice,
            "invoice_item": None,
            "promotion_code": self.promotion_code,
            "source": {"coupon": self.coupon, "type": "coupon"},
            "start": self.created,
            "subscription": self.subscription,
            "subscription_item": None,
        }


@dataclass(slots=True, eq=False)
class InvoiceRow(Row):
    currency: str
    customer: str
    email: str | None
    subtotal: int
    discount: int = 0
    payment_intent: str | None = None  # None: nothing was to be paid
    subscription: str | None = None
    is_first: bool = True
    status: str = "paid"
    discounts: list[DiscountRow] = field(default_factory=list)
    object: ClassVar[str] = "invoice"

    @property
    def total(self) -> int:
        return self.subtotal - self.discount

    def show(self, expand: frozenset[str] = frozenset()) -> Json:
        shown = {**_plain_invoice(), **self._amounts(), **self._source()}
        shown |= {
            "id": self.id,
            "object": "invoice",
            "created": self.created,
            "currency": self.currency,
            "customer": self.customer,
            "customer_email": self.email,
            "discounts": [d.show() if "discounts" in expand else d.id for d in self.discounts],
            "period_end": self.created,
            "period_start": self.created,
            "status": self.status,
            "status_transitions": {
                "finalized_at": self.created,
                "marked_uncollectible_at": None,
                "paid_at": self.created,
                "voided_at": None,
            },
            "total_discount_amounts": [
                {
                    "amount": self.discount,
                    "discount": d.show() if "total_discount_amounts.discount" in expand else d.id,
                }
                for d in self.discounts
            ],
        }
        if "payments" in expand:
            shown["payments"] = self._payments()
        return shown

    def _amounts(self) -> Json:
        return {
            "amount_due": self.total,
            "amount_paid": self.total,
            "subtotal": self.subtotal,
            "subtotal_excluding_tax": self.subtotal,
            "total": self.total,
            "total_excluding_tax": self.total,
        }

    def _source(self) -> Json:
        if self.subscription is None:
            return {"billing_reason": "manual", "parent": None}
        details = {"metadata": {}, "subscription": self.subscription}
        parent = {
            "quote_details": None,
            "subscription_details": details,
            "type": "subscription_details",
        }
        reason = "subscription_create" if self.is_first else "subscription_cycle"
        return {"billing_reason": reason, "parent": parent}

    def _payments(self) -> Json:
        data = [self.payment()] if self.payment_intent else []
        return {
            "object": "list",
            "data": data,
            "has_more": False,
            "url": f"/v1/invoice_payments?invoice={self.id}",
        }

    def payment(self) -> Json:
        """The invoice_payment that ties the invoice to its payment intent."""
        return {
            "id": "inpay_" + self.id[3:],
            "object": "invoice_payment",
            "amount_paid": self.total,
            "amount_requested": self.total,
            "created": self.created,
            "currency": self.currency,
            "invoice": self.id,
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": self.payment_intent, "type": "payment_intent"},
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": self.created},
        }


def _plain_invoice() -> Json:
    """What an invoice may have and these have not."""
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "account_country account_name account_tax_ids application automatically_finalizes_at custom_fields "
            "customer_account customer_address customer_name customer_phone customer_shipping customer_tax_ids "
            "default_payment_method default_source description due_date effective_at ending_balance footer "
            "from_invoice hosted_invoice_url invoice_pdf last_finalization_error latest_revision "
            "next_payment_attempt number on_behalf_of receipt_number rendering shipping_cost shipping_details "
            "statement_descriptor test_clock total_pretax_credit_amounts total_taxes webhooks_delivered_at"
        ).split()
    )
    zero = dict.fromkeys(
        (
            "amount_overpaid amount_paid_off_stripe amount_remaining amount_shipping attempt_count "
            "post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance"
        ).split(),
        0,
    )
    return {
        **nothing,
        **zero,
        "attempted": True,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "collection_method": "charge_automatically",
        "customer_tax_exempt": "none",
        "default_tax_rates": [],
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": [], "has_more": False, "url": "/v1/invoices/lines"},
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
    }
