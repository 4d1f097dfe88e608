"""The till of the stand-in Shopify shop: orders, repayments, cancellations, and the webhooks that they cause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sandbox.shopify_catalogue import lines_of
from sandbox.shopify_discounts import FREE_SHIPPING, Discount
from sandbox.shopify_views import customer_number, order_number, sale_index
from sandbox.world import Person, Repayment, Sale

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

_SHIPPING_MINOR, _TAX_PERCENT = 495, 21


class Till:
    """Changes the shop's world; `version` counts the changes, `gone` holds numbers of sales."""

    def __init__(self, shop: ShopifySandbox) -> None:
        self._shop = shop
        self._people = dict(shop.world.by_email)
        self.version = 0
        self.is_testing = False  # orders are paid by a test payment
        self.gone: set[int] = set()  # orders that were deleted

    def checkout(self, body: Mapping[str, object]) -> dict[str, object]:
        """An order, paid unless `"unpaid"` is said. An e-mail that belongs to a customer record is that customer's."""
        shop, now = self._shop, self._now()
        person, email = self._buyer(body)
        lines = lines_of(body.get("lines"))
        subtotal = sum(line.price_minor for line in lines) or int(str(body["subtotal_minor"]))
        customer = None if person.is_guest else customer_number(person)
        discount = None
        if body.get("code"):
            discount = shop.discounts.at_checkout(
                str(body["code"]), email.lower(), customer, subtotal, shop.clock(), lines
            )
        off = discount.off(discount.counts_for(lines, subtotal)) if discount else 0
        code = discount.codes[str(body["code"]).strip().lower()].code if discount else None
        sale = self._sale(person, email, subtotal, discount, code, off, now)
        if body.get("unpaid"):
            sale.paid_at = None
        else:
            self._pay(body, customer, sale.total_minor)
        if self.is_testing:
            self._shop.views.test_orders.add(sale.number)
        shop.world.sales.append(sale)
        self._redeem(discount, email, sale.code)
        self.version += 1
        for topic in ("orders/create", "orders/paid", "orders/updated"):
            if sale.paid_at is not None or topic != "orders/paid":
                self._emit_order(topic, sale)
        return {
            "order": order_number(sale),
            "total_minor": sale.total_minor,
            "discount_minor": sale.discount_minor,
        }

    def refund(self, order: str, total_minor: int) -> None:
        """Gives money back."""
        sale = self._sale_of(order)
        repayment = Repayment(sale.number * 10 + len(sale.repayments), total_minor, self.touch(sale))
        sale.repayments.append(repayment)
        body = self._shop.bodies.refund_body(sale, repayment)
        self._shop.hook_desk.emit("refunds/create", lambda _: body)
        self._emit_order("orders/updated", sale)

    def cancel(self, order: str) -> None:
        """Cancels an order; its code stays used."""
        sale = self._sale_of(order)
        if sale.cancelled_at is None:
            sale.cancelled_at = self.touch(sale)
            self._emit_order("orders/cancelled", sale)
            self._emit_order("orders/updated", sale)

    def forget(self, person: Person) -> None:
        """A record is gone: whoever orders by its e-mail is nobody's customer."""
        self._people.pop(person.email.lower(), None)

    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None) -> str:
        """A new customer record; its number."""
        shop, people = self._shop, self._shop.world.people
        person = Person(len(people), name, email, self._now(), birthday)
        people.append(person)
        self._people[email.lower()] = person
        shop.customers[customer_number(person)] = person
        self.version += 1
        shop.hook_desk.emit(
            "customers/create",
            lambda with_birthday: shop.bodies.customer_body(person, with_birthday=with_birthday),
        )
        return customer_number(person)

    def _pay(self, body: Mapping[str, object], customer: str | None, total_minor: int) -> None:
        """With a gift card or store credit, where the shopper says so; the order shows neither of them to apps' posts."""
        if body.get("gift_card"):
            self._shop.cards.spend(str(body["gift_card"]), total_minor)
        if body.get("store_credit"):
            self._shop.credit.spend(customer or "", total_minor)

    def _buyer(self, body: Mapping[str, object]) -> tuple[Person, str]:
        if body.get("customer"):
            person = self._shop.customers[str(body["customer"])]
            return person, person.email
        email = str(body["email"])
        person = self._people.get(email.lower()) or self._newcomer(email)
        return person, email

    def _newcomer(self, email: str) -> Person:
        people = self._shop.world.people
        person = Person(len(people), email.partition("@")[0], email, None, None)
        people.append(person)
        self._people[email.lower()] = person
        return person

    def _sale(
        self,
        person: Person,
        email: str,
        subtotal: int,
        discount: Discount | None,
        code: str | None,
        off: int,
        now: datetime,
    ) -> Sale:
        free = discount is not None and discount.kind == FREE_SHIPPING
        return Sale(
            number=len(self._shop.world.sales),
            person=person,
            by_account=not person.is_guest,
            email=email,
            placed_at=now,
            paid_at=now,
            subtotal_minor=subtotal - off,
            tax_minor=(subtotal - off) * _TAX_PERCENT // 100,
            shipping_minor=0 if free else _SHIPPING_MINOR,
            updated_at=now,
            discount_minor=_SHIPPING_MINOR if free else off,
            code=code,
            in_history=False,
        )

    def _redeem(self, discount: Discount | None, email: str, code: str | None) -> None:
        if discount is not None and code is not None:
            discount.codes[code.lower()].used += 1
            discount.used_by.add(email.lower())
            self._shop.redemptions += discount.by_app

    def _sale_of(self, order: str) -> Sale:
        return self._shop.world.sales[sale_index(order)]

    def touch(self, sale: Sale) -> datetime:
        """The time of a change: never the same for two changes of one order."""
        self.version += 1
        sale.updated_at = max(self._now(), sale.updated_at + timedelta(seconds=1))
        return sale.updated_at

    def _emit_order(self, topic: str, sale: Sale) -> None:
        body = self._shop.bodies.order_body(sale)
        self._shop.hook_desk.emit(topic, lambda _: body)

    def _now(self) -> datetime:
        return self._shop.clock().replace(microsecond=0)
