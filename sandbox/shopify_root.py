"""The fields at the root of the stand-in's GraphQL: queries and mutations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from sandbox.shopify_access import may
from sandbox.shopify_bulk import operation_view, searched
from sandbox.shopify_catalogue import PRODUCTS
from sandbox.shopify_discounts import BASIC, FREE_SHIPPING, Discount
from sandbox.shopify_metafields import enable_standard, set_metafields
from sandbox.shopify_views import connection, customer_number, digits, order_number, sale_index
from sandbox.world import Person, Sale

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

View = dict[str, Any]
_MOST_PAGED = 25_000


class Root:
    """Resolves the root fields for one sandbox."""

    def __init__(self, shop: ShopifySandbox) -> None:
        self._shop = shop
        self._digits = digits(shop.world.seed.currency)

    def fields(self) -> View:
        """The root value of an execution."""
        return {
            "shop": self._shop.views.shop(),
            "currentAppInstallation": self._installation,
            "customer": self._customer,
            "customers": lambda info, **asked: self._page("customers", **asked),
            "order": self._order,
            "orders": lambda info, **asked: self._page("orders", **asked),
            "discountNodes": self._discount_nodes,
            "codeDiscountNodeByCode": self._by_code,
            "nodes": lambda info, ids: [self._node(gid) for gid in ids],
            "bulkOperation": self._bulk_operation,
            "bulkOperations": self._bulk_operations,
            "webhookSubscriptions": self._subscriptions,
            "bulkOperationRunQuery": self._run_bulk,
            "bulkOperationCancel": self._cancel_bulk,
            "discountCodeBasicCreate": lambda info, basicCodeDiscount: self._create(
                BASIC, basicCodeDiscount, "basicCodeDiscount"
            ),
            "discountCodeBasicUpdate": lambda info, id, basicCodeDiscount: self._update(
                id, BASIC, basicCodeDiscount, "basicCodeDiscount"
            ),
            "discountCodeFreeShippingCreate": lambda info, freeShippingCodeDiscount: self._create(
                FREE_SHIPPING, freeShippingCodeDiscount, "freeShippingCodeDiscount"
            ),
            "discountCodeFreeShippingUpdate": lambda info, id, freeShippingCodeDiscount: self._update(
                id, FREE_SHIPPING, freeShippingCodeDiscount, "freeShippingCodeDiscount"
            ),
            "discountCodeDeactivate": self._deactivate,
            "discountCodeDelete": self._delete,
            **self._shop.code_desk.fields(),
            **self._shop.cards.fields(),
            **self._shop.credit.fields(),
            "customersCount": lambda info, **asked: self._count("customers", **asked),
            "ordersCount": lambda info, **asked: self._count("orders", **asked),
            "metafieldsSet": lambda info, metafields: set_metafields(self._shop, metafields),
            "standardMetafieldDefinitionEnable": lambda info, ownerType, key=None, namespace=None, pin=None: (
                enable_standard(self._shop, namespace, key, pin)
            ),
            "webhookSubscriptionCreate": self._subscribe,
            "webhookSubscriptionDelete": self._unsubscribe,
        }

    def bulk_sources(self) -> dict[str, Callable[[str], tuple[Iterable[Any], Callable[[Any], View]]]]:
        """What bulk operations can read."""
        return {"customers": self._customers_found, "orders": self._orders_found}

    def _installation(self, info: Any) -> View:
        scopes = [
            {"handle": scope, "description": scope.replace("_", " ")}
            for scope in self._shop.oauth.granted_scopes
        ]
        return {
            "__typename": "AppInstallation",
            "id": "gid://shopify/AppInstallation/5",
            "accessScopes": scopes,
        }

    # -- customers and orders ----------------------------------------------------------------------------------------

    def _customers_found(self, search: str | None) -> tuple[Iterable[Person], Callable[[Any], View]]:
        def facts(person: Person) -> View:
            number = customer_number(person)
            changed = self._shop.views.touched.get(number, person.joined_at)
            return {"id": int(number), "updated_at": changed, "created_at": person.joined_at}

        holds = searched(search, facts)
        return (p for p in self._shop.customers.values() if holds(p)), self._shop.views.customer

    def _orders_found(self, search: str | None) -> tuple[Iterable[Sale], Callable[[Any], View]]:
        def facts(sale: Sale) -> View:
            return {
                "id": int(order_number(sale)),
                "updated_at": sale.updated_at,
                "created_at": sale.placed_at,
            }

        holds = searched(search, facts)
        return (s for s in self._orders_shown() if holds(s)), self._shop.views.order

    def _orders_shown(self) -> Iterable[Sale]:
        """Without read_all_orders an app sees those of the last 60 days, and is not told that there are more."""
        gone = self._shop.till.gone
        sales = self._shop.world.sales
        if gone:
            sales = [sale for sale in sales if sale.number not in gone]
        if may(self._shop.oauth.scopes, "read_all_orders"):
            return sales
        first = self._shop.clock() - timedelta(days=60)
        return (sale for sale in sales if sale.placed_at >= first)

    def _page(
        self,
        name: str,
        *,
        first: int = 50,
        after: str | None = None,
        query: str | None = None,
        sortKey: str = "ID",
        reverse: bool = False,
        **_: Any,
    ) -> View:
        if after and int(after) + first > _MOST_PAGED:
            raise GraphQLError("Pagination ends at 25000 objects.", extensions={"code": "BAD_REQUEST"})
        found, view = self.bulk_sources()[name](query or "")
        rows = list(found)
        if sortKey == "UPDATED_AT":
            rows.sort(key=lambda row: str(view(row)["updatedAt"]))
        if sortKey == "CREATED_AT":
            rows.sort(key=_made_at)
        if reverse:
            rows.reverse()
        return connection(rows, view=view, first=first, after=after)

    def _count(self, name: str, query: str | None = None, limit: int | None = 10_000, **_: Any) -> View:
        found = sum(1 for _ in self.bulk_sources()[name](query or "")[0])
        if limit is not None and found > limit:
            return {"count": limit, "precision": "AT_LEAST"}
        return {"count": found, "precision": "EXACT"}

    def _customer(self, info: Any, id: str) -> View | None:
        number = id.rpartition("/")[2]
        person = self._shop.customers.get(number)
        if person is None:
            return None
        accounts = self._shop.credit.accounts_of(number)
        return self._shop.views.customer(person) | {
            "storeCreditAccounts": lambda info, first=None, after=None, **_: connection(
                accounts, first=first, after=after
            )
        }

    def _order(self, info: Any, id: str) -> View | None:
        index, sales = sale_index(id.rpartition("/")[2]), self._shop.world.sales
        return self._shop.views.order(sales[index]) if 0 <= index < len(sales) else None

    # -- discounts ---------------------------------------------------------------------------------------------------

    def _discount_nodes(
        self, info: Any, first: int = 50, after: str | None = None, query: str | None = None, **_: Any
    ) -> View:
        holds = searched(query, lambda d: {"id": d.number, "method": "code", "updated_at": d.updated_at})
        return connection(
            [d for d in self._shop.discounts if holds(d)],
            view=lambda d: {
                "id": _gid(d),
                "discount": self._shop.discount_views.view(d),
            },
            first=first,
            after=after,
        )

    def _by_code(self, info: Any, code: str) -> View | None:
        found = self._shop.discounts.by_code(code)
        return self._code_node(found) if found else None

    def _node(self, gid: str) -> View | None:
        kind, _, number = gid.removeprefix("gid://shopify/").partition("/")
        if kind == "DiscountRedeemCodeBulkCreation" and gid in self._shop.code_desk.creations:
            return self._shop.code_desk.view(self._shop.code_desk.creations[gid])
        if kind == "Product" and number in PRODUCTS:
            return self._shop.discount_views.product(number)
        if kind == "GiftCard" and number.isdigit():
            return self._shop.cards.node(int(number))
        if kind == "StoreCreditAccountCreditTransaction" and number.isdigit():
            return self._shop.credit.node(int(number))
        if kind != "DiscountCodeNode" or not number.isdigit():
            return None
        found = self._shop.discounts.by_number(int(number))
        return self._code_node(found) if found else None

    def _code_node(self, found: Discount) -> View:
        return {
            "__typename": "DiscountCodeNode",
            "id": _gid(found),
            "codeDiscount": self._shop.discount_views.view(found),
        }

    def _create(self, kind: str, content: View, path: str) -> View:
        shop = self._shop
        made, errors = shop.discounts.create(
            kind, content, path, shop.clock(), shop.customers.keys(), self._digits
        )
        return self._outcome(made, errors, "discounts/create")

    def _update(self, gid: str, kind: str, content: View, path: str) -> View:
        shop = self._shop
        number = int(gid.rpartition("/")[2])
        found, errors = shop.discounts.update(
            number, kind, content, path, shop.clock(), shop.customers.keys(), self._digits
        )
        return self._outcome(found, errors, "discounts/update")

    def _deactivate(self, info: Any, id: str) -> View:
        found, errors = self._shop.discounts.deactivate(int(id.rpartition("/")[2]), self._shop.clock())
        return self._outcome(found, errors, "discounts/update")

    def _outcome(self, found: Discount | None, errors: list[View], topic: str) -> View:
        if found is None:
            return {"codeDiscountNode": None, "userErrors": errors}
        body = self._shop.bodies.discount_body(found)
        self._shop.hook_desk.emit(topic, lambda _: body)
        return {"codeDiscountNode": self._code_node(found), "userErrors": []}

    def _delete(self, info: Any, id: str) -> View:
        found = self._shop.discounts.delete(int(id.rpartition("/")[2]))
        if found is None:
            error = {
                "field": ["id"],
                "message": "Discount does not exist.",
                "code": "INVALID",
                "extraInfo": None,
            }
            return {"deletedCodeDiscountId": None, "userErrors": [error]}
        body = {"admin_graphql_api_id": _gid(found), "deleted_at": self._shop.clock().isoformat()}
        self._shop.hook_desk.emit("discounts/delete", lambda _: body)
        return {"deletedCodeDiscountId": id, "userErrors": []}

    # -- bulk operations and webhooks --------------------------------------------------------------------------------

    def _run_bulk(self, info: Any, query: str, groupObjects: bool = False) -> View:
        operation, errors = self._shop.bulk.start(query)
        view = operation_view(operation, self._shop.url) if operation else None
        return {"bulkOperation": view, "userErrors": errors}

    def _cancel_bulk(self, info: Any, id: str) -> View:
        operation = self._shop.bulk.cancel(id)
        if operation is None:
            error = {"field": ["id"], "message": "Bulk operation does not exist"}
            return {"bulkOperation": None, "userErrors": [error]}
        return {"bulkOperation": operation_view(operation, self._shop.url), "userErrors": []}

    def _bulk_operation(self, info: Any, id: str) -> View | None:
        operation = self._shop.bulk.operations.get(id)
        return operation_view(operation, self._shop.url) if operation else None

    def _bulk_operations(self, info: Any, first: int = 50, after: str | None = None, **_: Any) -> View:
        found = list(self._shop.bulk.operations.values())
        return connection(found, view=lambda o: operation_view(o, self._shop.url), first=first, after=after)

    def _subscriptions(self, info: Any, first: int = 50, after: str | None = None, **_: Any) -> View:
        return self._shop.hook_desk.page(first=first, after=after)

    def _subscribe(self, info: Any, topic: str, webhookSubscription: View) -> View:
        made, errors = self._shop.hook_desk.create(topic, webhookSubscription)
        return {"webhookSubscription": made.view() if made else None, "userErrors": errors}

    def _unsubscribe(self, info: Any, id: str) -> View:
        if self._shop.hook_desk.delete(id):
            return {"deletedWebhookSubscriptionId": id, "userErrors": []}
        error = {"field": ["id"], "message": "Webhook subscription does not exist"}
        return {"deletedWebhookSubscriptionId": None, "userErrors": [error]}


def _made_at(row: Person | Sale) -> datetime:
    """When a row came into the shop."""
    made = row.placed_at if isinstance(row, Sale) else row.joined_at
    assert made is not None
    return made


def _gid(found: Discount) -> str:
    return f"gid://shopify/DiscountCodeNode/{found.number}"
