"""Invoices and disputes as our records.

An invoice's money is told by its charges, so it counts none itself: it adds the promotion codes, tax and discount to
the purchase of its payment intent, as a Checkout session does. Since 2025-03-31 an invoice names neither its payment
nor (in events) its codes, so one with a discount is read again with both expanded.
Source: docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from connectors.stripe.mapping import minor
from rewards.changes import Ignored, LookAgain, OrderSaved, RefundSaved
from rewards.records import Order, OrderStatus, Refund, RefundStatus

INVOICE = "invoice"  # what is looked at again
EXPAND_INVOICE = ["payments", "total_discount_amounts.discount"]

# Money is away from the first day of a dispute, but only its end says whose it is. An inquiry ("warning_…") moves none.
_DISPUTE_STATUS = {
    "needs_response": RefundStatus.PENDING,
    "under_review": RefundStatus.PENDING,
    "lost": RefundStatus.SUCCEEDED,
    "won": RefundStatus.FAILED,
    "prevented": RefundStatus.FAILED,
    "warning_closed": RefundStatus.FAILED,
}


class Discount(msgspec.Struct, gc=False):
    promotion_code: str | None = None


class DiscountAmount(msgspec.Struct, gc=False):
    amount: int
    discount: str | Discount | None = None  # an id where it is not expanded


class TaxAmount(msgspec.Struct, gc=False):
    amount: int


class Payment(msgspec.Struct, gc=False):
    payment_intent: str | None = None
    charge: str | None = None


class InvoicePayment(msgspec.Struct, gc=False):
    payment: Payment
    status: str = ""


class InvoicePayments(msgspec.Struct, gc=False):
    data: list[InvoicePayment] = []


class Invoice(msgspec.Struct, gc=False):
    id: str
    created: int
    currency: str
    status: str | None = None
    customer: str | None = None
    customer_email: str | None = None
    amount_shipping: int = 0
    payments: InvoicePayments | None = None  # only where it is expanded
    total_discount_amounts: list[DiscountAmount] | None = None
    total_taxes: list[TaxAmount] | None = None


class Dispute(msgspec.Struct, gc=False):
    id: str
    amount: int
    charge: str
    created: int
    currency: str
    status: str
    payment_intent: str | None = None


def invoice_paid(invoice: Invoice) -> LookAgain | Ignored:
    """What the event of a paid invoice asks for; a code on one of nothing, as of a trial, is used all the same."""
    if invoice.total_discount_amounts:
        return LookAgain(INVOICE, invoice.id)
    return Ignored("an invoice without a discount: its payment is told by its charge")


def order_of_invoice(invoice: Invoice) -> OrderSaved | Ignored:
    """What a paid invoice adds to the purchase of its payment; needs `EXPAND_INVOICE`.

    Nothing to be paid (100 % off): an order of its own that holds the codes and stays without payment, so that it
    neither earns nor counts beside a Checkout session that tells of the same.
    """
    if invoice.status != "paid":
        return Ignored("an invoice that is not paid")
    codes = [
        each.discount.promotion_code
        for each in invoice.total_discount_amounts or ()
        if isinstance(each.discount, Discount) and each.discount.promotion_code
    ]
    if not codes:
        return Ignored("an invoice without a promotion code")
    currency = invoice.currency.upper()
    discount = sum(each.amount for each in invoice.total_discount_amounts or ())
    return OrderSaved(
        Order(
            external_id=_paid_by(invoice) or invoice.id,
            customer_external_id=invoice.customer,
            email=invoice.customer_email,
            status=OrderStatus.PENDING,
            status_given="paid",
            currency=currency,
            subtotal_minor=0,
            tax_minor=minor(sum(tax.amount for tax in invoice.total_taxes or ()), currency),
            shipping_minor=minor(invoice.amount_shipping, currency),
            discount_minor=minor(discount, currency),
            total_minor=0,
            placed_at=_time(invoice.created),
            paid_at=None,
            cancelled_at=None,
            codes=tuple(dict.fromkeys(codes)),
        )
    )


def dispute_saved(dispute: Dispute) -> RefundSaved | Ignored:
    """A dispute as a refund that the bank makes: lost it counts, won the customer has kept the purchase."""
    status = _DISPUTE_STATUS.get(dispute.status)
    if status is None:
        return Ignored("an inquiry, which moves no money")
    return RefundSaved(
        dispute.payment_intent or dispute.charge,
        Refund(
            external_id=dispute.id,
            total_minor=minor(dispute.amount, dispute.currency.upper()),
            status=status,
            refunded_at=_time(dispute.created),
        ),
    )


def _paid_by(invoice: Invoice) -> str | None:
    """The purchase that the invoice's first payment is known by; of several payments each is a purchase of its own."""
    for each in invoice.payments.data if invoice.payments else ():
        if each.status == "paid" and (key := each.payment.payment_intent or each.payment.charge):
            return key
    return None


def _time(moment: int) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
