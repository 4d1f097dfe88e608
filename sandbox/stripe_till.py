"""The shop's side of the stand-in for Stripe: Checkout, delayed payments, subscriptions, refunds, disputes.

What Stripe leaves open is decided as it must be for a shop to work: a code bound to a customer needs a session opened
with that customer, and `times_redeemed` grows when the session completes, also when a delayed payment fails later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sandbox.server import CheckoutRefused
from sandbox.stripe_account import Account
from sandbox.stripe_billing import DiscountRow, DisputeRow, InvoiceRow
from sandbox.stripe_coupons import CodeRow
from sandbox.stripe_objects import ChargeRow, CustomerRow, RefundRow, SessionRow

_TAX_PERCENT = 21


class Till:
    """Where the shop takes money. `redeemed` is told of every code that was used."""

    def __init__(self, account: Account, redeemed: Callable[[CodeRow], None]) -> None:
        self.account = account
        self._redeemed = redeemed
        self._delayed: dict[str, SessionRow] = {}
        self._failed: dict[str, SessionRow] = {}
        self._subscribed: dict[str, tuple[InvoiceRow, int]] = {}  # the first invoice, the price of a period

    # -- Checkout ----------------------------------------------------------------------------------------------------

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """A Checkout session from start to end; see `Sandbox`. An account's e-mail means that it signed in.

        Beside the usual: "delayed" (the bank answers later, see `settle`), "products" (ids in the basket), "field" ([key,
        text] typed into a custom field).
        """
        subtotal = int(str(body["subtotal_minor"]))
        customer, email, code = self._shopper_and_code(body, subtotal)
        discount = code.coupon.off(subtotal) if code and _is_for(code, body) else 0
        session = self._complete(customer, email, subtotal, discount, code, body)
        if code:
            self._redeem(code)
        return {
            "order": session.payment_intent or session.id,
            "total_minor": session.total,
            "discount_minor": discount,
        }

    def settle(self, order: str, *, succeeded: bool) -> None:
        """The bank's answer to a delayed payment."""
        session = self._delayed.pop(order)
        if succeeded:
            session.payment_status = "paid"
            self._charge(session.payment_intent, session.total, session.customer, session.email)
        else:
            self._failed[order] = session
        outcome = "succeeded" if succeeded else "failed"
        self.account.tell(f"checkout.session.async_payment_{outcome}", session)

    def pay_after_all(self, order: str) -> None:
        """The shopper pays the intent of a payment that failed, in another way: only the charge tells of it."""
        session = self._failed.pop(order)
        session.payment_status = "paid"
        self._charge(order, session.total, session.customer, session.email)

    def _shopper_and_code(
        self, body: Mapping[str, object], subtotal: int
    ) -> tuple[CustomerRow | None, str, CodeRow | None]:
        text = str(body["code"]) if body.get("code") else None
        customer, email = self._shopper(body, text)
        return customer, email, self._usable_code(text, customer, subtotal) if text else None

    def _shopper(self, body: Mapping[str, object], text: str | None) -> tuple[CustomerRow | None, str]:
        """Who the session is opened for. Of somebody's several Customers the shop takes the one the code is for."""
        account = self.account
        if body.get("customer"):
            customer = account.customers.get(str(body["customer"]), "customer")
            return customer, customer.email or ""
        email = str(body["email"])
        known = account.customers_by_email.get(email.lower(), [])
        bound_to = {code.customer for code in account.codes_by_text.get((text or "").lower(), ())}
        return next((c for c in known if c.id in bound_to), known[0] if known else None), email

    def _usable_code(self, text: str, customer: CustomerRow | None, subtotal: int) -> CodeRow:
        """The code if Checkout takes it now. Raises CheckoutRefused."""
        now = self.account.now
        found = self.account.codes_by_text.get(text.lower(), [])
        if not found:
            raise CheckoutRefused("unknown_code")
        allowed = [
            code for code in found if code.customer is None or (customer and code.customer == customer.id)
        ]
        if not allowed:
            raise CheckoutRefused("wrong_customer")
        code = next((code for code in allowed if code.active(now)), allowed[-1])
        if code.is_used_up:
            raise CheckoutRefused("used_up")
        if code.is_expired(now):
            raise CheckoutRefused("expired")
        # Switched off, its coupon gone, the basket too small, or not the first order: Checkout calls all of them invalid.
        is_later = code.first_time and customer is not None and self._has_paid(customer)
        if not code.active(now) or subtotal < (code.minimum_amount or 0) or is_later:
            raise CheckoutRefused("unknown_code")
        return code

    def _has_paid(self, customer: CustomerRow) -> bool:
        return any(c.succeeded for c in self.account.charges if c.customer == customer.id)

    def _complete(
        self,
        customer: CustomerRow | None,
        email: str,
        subtotal: int,
        discount: int,
        code: CodeRow | None,
        body: Mapping[str, object],
    ) -> SessionRow:
        account = self.account
        is_free, is_delayed = discount >= subtotal, bool(body.get("delayed"))
        if is_free and customer is None:
            customer = account.create_customer(
                {"email": email}
            )  # as Checkout does for an order without payment
        session = SessionRow(
            account.new_id("cs_test_"),
            account.now,
            account.currency,
            customer.id if customer else None,
            email,
            None if is_free else account.new_id("pi_3"),
            subtotal,
            discount,
            tax=(subtotal - discount) * _TAX_PERCENT // 100,
            payment_status="no_payment_required" if is_free else "unpaid" if is_delayed else "paid",
            promotion_code=code.id if code else None,
            field=_field(body),
        )
        account.sessions.add(session)
        if session.payment_status == "paid":
            self._charge(session.payment_intent, session.total, session.customer, email)
        elif session.payment_intent:
            self._delayed[session.payment_intent] = session
        account.tell("checkout.session.completed", session)
        return session

    def _charge(self, intent: str | None, total: int, customer: str | None, email: str | None) -> None:
        account = self.account
        name = account.customers.get(customer, "customer").name if customer else None
        charge = ChargeRow(
            account.new_id("ch_3"), account.now, total, account.currency, customer, email, name, intent
        )
        account.charges.add(charge)
        account.charges_by_order[charge.payment_intent or charge.id] = charge
        account.tell("charge.succeeded", charge)

    def _redeem(self, code: CodeRow) -> None:
        code.times_redeemed += 1
        code.coupon.times_redeemed += 1
        self.account.tell("promotion_code.updated", code)
        self._redeemed(code)

    # -- subscriptions -----------------------------------------------------------------------------------------------

    def subscribe(self, body: Mapping[str, object]) -> dict[str, object]:
        """A Checkout session in subscription mode: its first invoice carries the code. Body as `place_order`, and
        "trial": the first period costs nothing.
        """
        account, price = self.account, int(str(body["subtotal_minor"]))
        customer, email, code = self._shopper_and_code(body, price)
        subtotal = 0 if body.get("trial") else price
        if customer is None:
            customer = account.create_customer({"email": email})  # as Checkout does for subscriptions
        discount = code.coupon.off(subtotal) if code else 0
        subscription = account.new_id("sub_1")
        invoice = self._bill(customer, subscription, subtotal, discount, code)
        session = SessionRow(
            account.new_id("cs_test_"),
            account.now,
            account.currency,
            customer.id,
            email,
            None,
            subtotal,
            discount,
            payment_status="paid" if invoice.payment_intent else "no_payment_required",
            promotion_code=code.id if code else None,
            mode="subscription",
            invoice=invoice.id,
            subscription=subscription,
        )
        account.sessions.add(session)
        account.tell("checkout.session.completed", session)
        if code:
            self._redeem(code)
        self._subscribed[subscription] = (invoice, price)
        return {"subscription": subscription, "order": invoice.payment_intent or invoice.id}

    def renew(self, subscription: str) -> str:
        """The next period at the full price: coupons of ours last for one invoice. The order."""
        first, price = self._subscribed[subscription]
        customer = self.account.customers.get(first.customer, "customer")
        invoice = self._bill(customer, subscription, price, 0, None)
        invoice.is_first = False
        return invoice.payment_intent or invoice.id

    def _bill(
        self,
        customer: CustomerRow,
        subscription: str | None,
        subtotal: int,
        discount: int,
        code: CodeRow | None,
    ) -> InvoiceRow:
        account = self.account
        is_free = discount >= subtotal
        invoice = InvoiceRow(
            account.new_id("in_1"),
            account.now,
            account.currency,
            customer.id,
            customer.email,
            subtotal,
            discount,
            None if is_free else account.new_id("pi_3"),
            subscription,
        )
        if code:
            invoice.discounts.append(
                DiscountRow(
                    account.new_id("di_1"),
                    account.now,
                    customer.id,
                    code.coupon.id,
                    code.id,
                    invoice.id,
                    subscription,
                )
            )
        account.invoices.add(invoice)
        if invoice.payment_intent:
            self._charge(invoice.payment_intent, invoice.total, customer.id, customer.email)
        account.tell("invoice.paid", invoice)
        return invoice

    # -- money back --------------------------------------------------------------------------------------------------

    def refund(self, order: str, total_minor: int | None) -> None:
        """Gives so much back, or all that is left."""
        account = self.account
        charge = account.charges_by_order[order]
        left = charge.amount - charge.refunded_minor
        refund = RefundRow(
            account.new_id("re_3"),
            account.now,
            left if total_minor is None else min(total_minor, left),
            charge.currency,
            charge.id,
            charge.payment_intent,
            "succeeded",
        )
        charge.refunds.append(refund)
        account.refunds.add(refund)
        account.tell("refund.created", refund)
        account.tell("charge.refunded", charge)

    def dispute(self, order: str) -> str:
        """The customer's bank takes the money back until it is decided; the dispute."""
        account = self.account
        charge = account.charges_by_order[order]
        dispute = DisputeRow(
            account.new_id("dp_1"),
            account.now,
            charge.amount - charge.refunded_minor,
            charge.currency,
            charge.id,
            charge.payment_intent,
        )
        account.disputes.add(dispute)
        account.tell("charge.dispute.created", dispute)
        return dispute.id

    def close_dispute(self, dispute_id: str, *, won: bool) -> None:
        """The decision of the bank."""
        dispute = self.account.disputes.get(dispute_id, "dispute")
        dispute.status = "won" if won else "lost"
        self.account.tell("charge.dispute.closed", dispute)


def _is_for(code: CodeRow, body: Mapping[str, object]) -> bool:
    """True if something in the basket is a product of the coupon; one without products is for all."""
    products = body.get("products")
    basket = set(products) if isinstance(products, list) else set()
    return not code.coupon.products or bool(basket & set(code.coupon.products))


def _field(body: Mapping[str, object]) -> tuple[str, str] | None:
    given = body.get("field")
    return (str(given[0]), str(given[1])) if isinstance(given, list | tuple) else None
