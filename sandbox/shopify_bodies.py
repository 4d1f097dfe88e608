"""The stand-in Shopify shop's world as webhook bodies: REST-shaped, whatever the API style."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from sandbox.shopify_discounts import Discount
from sandbox.shopify_views import (
    REFUNDS_FROM,
    View,
    Views,
    customer_number,
    order_number,
    paid_state,
    phone_of,
)
from sandbox.world import Person, Repayment, Sale


class Bodies:
    """Writes bodies for one shop, in the shop's own time."""

    def __init__(self, views: Views, clock: Callable[[], datetime]) -> None:
        self._views = views
        self._plain = views.plain
        self._zone = ZoneInfo(views.seed.time_zone)
        self._clock = clock

    def customer_body(self, person: Person, *, with_birthday: bool) -> View:
        number = int(customer_number(person))
        first, _, last = person.name.partition(" ")
        joined = self._local(person.joined_at) if person.joined_at else None
        touched = self._views.touched.get(str(number))
        body: View = {
            "id": number,
            "admin_graphql_api_id": f"gid://shopify/Customer/{number}",
            "email": person.email,
            "first_name": first,
            "last_name": last,
            "state": self._views.state(str(number)).lower(),
            "phone": phone_of(person),
            "note": None,
            "verified_email": True,
            "currency": self._views.currency,
            "created_at": joined,
            "updated_at": self._local(touched) if touched else joined,
            "email_marketing_consent": {
                "state": "subscribed" if self._views.subscribes(person) else "not_subscribed",
                "opt_in_level": "single_opt_in",
                "consent_updated_at": None,
            },
        }
        if with_birthday:
            found = [self._views.field(person, *name.split(".")) for name in self._views.field_names()]
            body["metafields"] = [
                {name: field[name] for name in ("namespace", "key", "value", "type")}
                for field in found
                if field
            ]
        return body

    def order_body(self, sale: Sale) -> View:
        number, plain = int(order_number(sale)), self._plain
        placed = self._local(sale.placed_at)
        code = {"code": sale.code, "amount": plain(sale.discount_minor), "type": "fixed_amount"}
        customer = self.customer_body(sale.person, with_birthday=False) if sale.by_account else None
        return {
            "id": number,
            "admin_graphql_api_id": f"gid://shopify/Order/{number}",
            "name": f"#{1001 + sale.number}",
            "email": sale.email,
            "contact_email": sale.email,
            "test": sale.number in self._views.test_orders,
            "confirmed": True,
            "currency": self._views.currency,
            "presentment_currency": self._views.currency,
            "financial_status": paid_state(sale).lower(),
            "created_at": placed,
            "processed_at": placed,
            "updated_at": self._local(sale.updated_at),
            "cancelled_at": self._local(sale.cancelled_at) if sale.cancelled_at else None,
            "cancel_reason": "customer" if sale.cancelled_at else None,
            "subtotal_price": plain(sale.subtotal_minor),
            "subtotal_price_set": self._rest_bag(sale.subtotal_minor),
            "total_tax": plain(sale.tax_minor),
            "total_shipping_price_set": self._rest_bag(sale.shipping_minor),
            "total_discounts": plain(sale.discount_minor),
            "total_price": plain(sale.total_minor),
            "total_price_set": self._rest_bag(sale.total_minor),
            "discount_codes": [code] if sale.code else [],
            "customer": customer,
            "refunds": [self.refund_body(sale, repayment) for repayment in sale.repayments],
            "source_name": "web",
            "tags": "",
        }

    def refund_body(self, sale: Sale, repayment: Repayment) -> View:
        number, order = REFUNDS_FROM + repayment.number, int(order_number(sale))
        at = self._local(repayment.at)
        return {
            "id": number,
            "admin_graphql_api_id": f"gid://shopify/Refund/{number}",
            "order_id": order,
            "created_at": at,
            "processed_at": at,
            "note": None,
            "refund_line_items": [],
            "order_adjustments": [],
            "transactions": [
                {
                    "id": number + 1_000_000_000,
                    "order_id": order,
                    "kind": "refund",
                    "status": "success",
                    "amount": self._plain(repayment.total_minor),
                    "currency": self._views.currency,
                    "created_at": at,
                }
            ],
        }

    def discount_body(self, found: Discount) -> View:
        return {
            "admin_graphql_api_id": f"gid://shopify/DiscountCodeNode/{found.number}",
            "title": found.title,
            "status": found.status(self._clock()),
            "created_at": self._local(found.created_at),
            "updated_at": self._local(found.updated_at),
        }

    def _rest_bag(self, minor: int) -> View:
        money = {"amount": self._plain(minor), "currency_code": self._views.currency}
        return {"shop_money": money, "presentment_money": money}

    def _local(self, moment: datetime) -> str:
        """Webhook bodies give the shop's own time with its offset."""
        return moment.astimezone(self._zone).isoformat()
