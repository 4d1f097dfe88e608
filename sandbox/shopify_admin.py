"""What the merchant of the stand-in Shopify shop does in the admin, and the webhooks that it causes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sandbox.shopify_views import customer_number, order_number, sale_index
from sandbox.world import Sale

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

_JOBS = 1_900_000_001


class Admin:
    """Changes customers, orders and the shop itself by hand."""

    def __init__(self, shop: ShopifySandbox) -> None:
        self._shop = shop

    def merge_customers(self, kept: str, gone: str) -> None:
        """Makes two records one: orders move over, and the other record is gone. Told as it begins and as it has ended."""
        shop = self._shop
        self._tell_merge(kept, gone, "in_progress")
        stays, goes = shop.customers[kept], shop.customers.pop(gone)
        for sale in shop.world.sales:
            if sale.by_account and customer_number(sale.person) == customer_number(goes):
                sale.person = stays
        shop.till.forget(goes)
        self._touched(kept)
        self._tell_merge(kept, gone, "completed")

    def delete_customer(self, number: str) -> None:
        """Takes a record out of the shop."""
        self._shop.till.forget(self._shop.customers.pop(number))
        self._shop.till.version += 1
        body = {"id": int(number), "admin_graphql_api_id": f"gid://shopify/Customer/{number}", "phone": None}
        self._shop.hook_desk.emit("customers/delete", lambda _: body)

    def set_consent(self, number: str, *, subscribed: bool) -> None:
        """Whether a customer takes marketing by e-mail; told without the version of the customer."""
        self._shop.views.consents[number] = subscribed
        self._shop.views.touched[number] = self._shop.clock().replace(microsecond=0)
        self._shop.till.version += 1
        body = {
            "customer_id": int(number),
            "email_address": self._shop.customers[number].email,
            "email_marketing_consent": {
                "state": "subscribed" if subscribed else "unsubscribed",
                "opt_in_level": "single_opt_in",
                "consent_updated_at": self._shop.clock().isoformat(),
            },
        }
        self._shop.hook_desk.emit("customers_email_marketing_consent/update", lambda _: body)

    def set_tags(self, number: str, *tags: str) -> None:
        """A customer's tags, which their post does not hold."""
        self._shop.views.tags[number] = sorted(tags)
        self._touched(number)

    def rename_customer(self, number: str, name: str) -> None:
        """Another name in a customer's record."""
        self._shop.customers[number] = replace(self._shop.customers[number], name=name)
        self._touched(number)

    def make_test_order(self, email: str, subtotal_minor: int) -> str:
        """An order by a test payment."""
        self._shop.till.is_testing = True
        made = self._shop.till.checkout({"email": email, "subtotal_minor": subtotal_minor})
        self._shop.till.is_testing = False
        return str(made["order"])

    def mark_paid(self, order: str) -> None:
        """Money for an order that was still to be paid."""
        sale = self._sale(order)
        sale.paid_at = self._shop.till.touch(sale)
        self._tell_order(sale, "orders/paid", "orders/updated")

    def edit_order(self, order: str, subtotal_minor: int) -> None:
        """Other goods in an order: what was edited is told apart from how the order is then."""
        sale = self._sale(order)
        sale.subtotal_minor = subtotal_minor
        self._shop.till.touch(sale)
        body = {"order_edit": {"id": _JOBS, "order_id": int(order), "notify_customer": False}}
        self._shop.hook_desk.emit("orders/edited", lambda _: body)
        self._tell_order(sale, "orders/updated")

    def delete_order(self, order: str) -> None:
        """Takes an order out of the shop."""
        self._shop.till.gone.add(self._sale(order).number)
        self._shop.till.version += 1
        self._shop.hook_desk.emit("orders/delete", lambda _: {"id": int(order)})

    def rename_shop(self, name: str) -> None:
        """Another name for the shop."""
        self._shop.views.shop_name = name
        body = {"id": 61_000_000_001, "name": name, "myshopify_domain": self._shop.shop}
        self._shop.hook_desk.emit("shop/update", lambda _: body)

    def _sale(self, order: str) -> Sale:
        return self._shop.world.sales[sale_index(order)]

    def _tell_order(self, sale: Sale, *topics: str) -> None:
        body = self._shop.bodies.order_body(sale)
        assert body["id"] == int(order_number(sale))
        for topic in topics:
            self._shop.hook_desk.emit(topic, lambda _: body)

    def _tell_merge(self, kept: str, gone: str, status: str) -> None:
        body: dict[str, Any] = {
            "admin_graphql_api_customer_kept_id": f"gid://shopify/Customer/{kept}",
            "admin_graphql_api_customer_deleted_id": f"gid://shopify/Customer/{gone}",
            "admin_graphql_api_job_id": None,
            "status": status,
            "errors": [],
        }
        self._shop.hook_desk.emit("customers/merge", lambda _: body)

    def _touched(self, number: str) -> None:
        shop = self._shop
        shop.views.touched[number] = shop.clock().replace(microsecond=0)
        shop.till.version += 1
        person = shop.customers[number]
        shop.hook_desk.emit(
            "customers/update",
            lambda with_birthday: shop.bodies.customer_body(person, with_birthday=with_birthday),
        )
