"""What shoppers and the merchant do in a WooCommerce shop: orders, refunds, accounts, and how coupons are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox.server import CheckoutRefused
from sandbox.woocommerce_cart import check, discount_minor, lines_of
from sandbox.woocommerce_records import FIRST_CUSTOMER, FIRST_ORDER, decimals
from sandbox.woocommerce_shop import WooCommerceShop, is_ours
from sandbox.world import Person, Repayment, Sale

_TAX_PERCENT, _SHIPPING_MINOR = 21, 495


class WooCommerceTrade(WooCommerceShop):
    """The shop while people buy in it."""

    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """By "customer" signed in, by "email" as a guest (even if that is an account's e-mail).

        What is bought may be told by "lines", see `sandbox.woocommerce_cart`. Below a coupon's minimum it is refused as
        "minimum_not_met", without what the coupon is for as "wrong_products", beside the reasons of `sandbox.server`.
        """
        person, by_account = self._shopper(body)
        email = person.email if by_account else str(body["email"])
        lines, now = lines_of(body), self.now()
        goods = sum(line.total_minor for line in lines)
        code = str(body["code"]).strip().lower() if body.get("code") else None
        user = str(FIRST_CUSTOMER + person.number) if by_account else email
        found = self.coupons.by_code.get(code) if code else None
        if code and not self.enables_coupons:
            raise CheckoutRefused("unknown_code")
        typed = email.lower() if self.release >= (9, 5) else email  # before, letter by letter
        coupon = check(found, lines, typed, user, now) if code else None
        scale = 10 ** decimals(self.world.seed.currency)
        if coupon and goods < round(float(coupon.fields["minimum_amount"]) * scale):
            raise CheckoutRefused("minimum_not_met")
        discount = discount_minor(coupon, lines, scale)
        sale = Sale(
            number=len(self.world.sales),
            person=person,
            by_account=by_account,
            email=email,
            placed_at=now,
            paid_at=now,
            subtotal_minor=goods - discount,
            tax_minor=(goods - discount) * _TAX_PERCENT // 100,
            shipping_minor=0 if coupon and coupon.fields["free_shipping"] else _SHIPPING_MINOR,
            updated_at=now,
            discount_minor=discount,
            code=code,
            in_history=False,
        )
        self.world.sales.append(sale)
        if coupon is not None:
            self._count_use(sale)
            self.redemptions += is_ours(coupon)
        self._order_happened(sale, "order.created", "order.updated")
        return {
            "order": str(FIRST_ORDER + sale.number),
            "total_minor": sale.total_minor,
            "discount_minor": discount,
        }

    def _shopper(self, body: Mapping[str, object]) -> tuple[Person, bool]:
        if body.get("customer"):
            return self.account(int(str(body["customer"]))), True
        email = str(body["email"])
        known = self.world.by_email.get(email.lower())
        if known is None:
            known = Person(len(self.world.people), "Nueva Compradora", email, None, None)
            self.world.people.append(known)
            self.world.by_email[email.lower()] = known
        return known, False

    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None = None) -> str:
        """A new customer account. A guest's earlier orders stay a guest's."""
        person = Person(len(self.world.people), name, email, self.now(), birthday)
        self.world.people.append(person)
        self.world.by_email[email.lower()] = person
        self.accounts.append(person)
        number = FIRST_CUSTOMER + person.number
        self.queue.happened(number, "customer.created")
        return str(number)

    def refund_order(self, order: str, total_minor: int) -> None:
        """A refund; the code stays used."""
        sale = self.world.sales[self.orders.index(order)]
        now = self.now()
        sale.repayments.append(Repayment(sale.number * 10 + len(sale.repayments), total_minor, now))
        sale.updated_at = now
        self._order_happened(sale, "order.updated")

    def cancel_order(self, order: str) -> None:
        """Cancelled by the merchant; the code can be used again."""
        if self.world.sales[self.orders.index(order)].cancelled_at is None:
            self.set_status(order, "cancelled")

    def set_status(self, order: str, status: str) -> None:
        """As somebody sets it in the admin pages: "failed", "processing" again, a plugin's own."""
        index = self.orders.index(order)
        sale, now = self.world.sales[index], self.now()
        self.orders.given[index] = status
        sale.cancelled_at = now if status in ("cancelled", "failed") else None
        sale.updated_at = now
        self._count_use(sale)
        self._order_happened(sale, "order.updated")

    def trash_order(self, order: str) -> None:
        """Moved to the trash: it vanishes from lists, and `order.deleted` tells no more than its id."""
        index = self.orders.index(order)
        if index not in self.orders.trashed:
            self.orders.trashed.add(index)
            self._count_use(self.world.sales[index])
            self._order_happened(self.world.sales[index], "order.deleted")

    def untrash_order(self, order: str) -> None:
        """Brought back from the trash."""
        index = self.orders.index(order)
        self.orders.trashed.discard(index)
        self.world.sales[index].updated_at = self.now()
        self._count_use(self.world.sales[index])
        self._order_happened(self.world.sales[index], "order.restored", "order.updated")

    def delete_order(self, order: str) -> None:
        """Deleted for good without passing through the trash: nothing is sent, and its code stays used."""
        index = self.orders.index(order)
        self.orders.deleted.add(index)
        self.orders.changed(index)

    def edit_customer(self, number: int, **changes: Any) -> None:
        """A customer as changed in the admin pages, e.g. name="…" or birthday=(4, 30, None)."""
        person = self.account(number)
        changed = replace(person, **changes)
        self.world.people[person.number] = changed
        self.accounts[self.accounts.index(person)] = changed
        self.queue.happened(number, "customer.updated")

    def _count_use(self, sale: Sale) -> None:
        """Counts the use of the order's coupon, or gives it back; WooCommerce before 9.0 does that for cancelled ones only."""
        coupon = self.coupons.by_code.get(sale.code) if sale.code else None
        if coupon is None:
            return
        over = ("cancelled",) if self.release < (9, 0) else ("cancelled", "failed", "trash")
        is_over, is_counted = self.orders.status(sale.number) in over, sale.number in self.counted
        if is_over and is_counted:
            self.counted.discard(sale.number)
            coupon.used_by.remove(_user(sale))
        elif not is_over and not is_counted:
            self.counted.add(sale.number)
            coupon.used_by.append(_user(sale))

    def _order_happened(self, sale: Sale, *topics: str) -> None:
        self.orders.changed(sale.number)
        self.queue.happened(FIRST_ORDER + sale.number, *topics)


def _user(sale: Sale) -> str:
    """How a coupon remembers who used it: the customer's id as text, or a guest's e-mail."""
    return str(FIRST_CUSTOMER + sale.person.number) if sale.by_account else sale.email
