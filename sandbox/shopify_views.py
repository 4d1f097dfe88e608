"""The stand-in Shopify shop's world as GraphQL objects: its discounts are in `shopify_discount_views`, webhook bodies in
`shopify_bodies`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sandbox.shopify_metafields import full_name, type_of
from sandbox.world import Person, Repayment, Sale, Seed

View = dict[str, Any]

_CUSTOMERS_FROM, _ORDERS_FROM, REFUNDS_FROM = 7_000_000_001, 5_000_000_001, 9_000_000_001
# A `date` metafield has a year; the shop writes this one where its customer gave none (a leap year, for 29 February).
MADE_UP_YEAR = 1904
_DIGITS = {"JPY": 0, "KRW": 0, "ISK": 0, "BHD": 3, "KWD": 3, "TND": 3}


def customer_number(person: Person) -> str:
    """The number in the customer's gid."""
    return str(_CUSTOMERS_FROM + person.number)


def order_number(sale: Sale) -> str:
    """The number in the order's gid."""
    return str(_ORDERS_FROM + sale.number)


def sale_index(order: str) -> int:
    """Where in the world's sales an order is."""
    return int(order) - _ORDERS_FROM


def person_index(customer: str) -> int:
    """Where among the world's people a customer is."""
    return int(customer) - _CUSTOMERS_FROM


def phone_of(person: Person) -> str | None:
    """What a customer is reached by, as Shopify writes it: in the international form. Not everybody gives it."""
    return f"+34600{person.number:06d}" if person.number % 4 and person.name else None


def digits(currency: str) -> int:
    """The currency's decimals."""
    return _DIGITS.get(currency, 2)


def paid_state(sale: Sale) -> str:
    """Shopify's display financial status."""
    if sale.paid_at is None:
        return "VOIDED" if sale.cancelled_at else "PENDING"
    if not sale.repayments:
        return "PAID"
    return "REFUNDED" if sale.repaid_minor >= sale.total_minor else "PARTIALLY_REFUNDED"


class Views:
    """Builds views for one shop, in its currency and time zone."""

    def __init__(self, seed: Seed, shop: str) -> None:
        self.seed = seed
        self.shop_domain = shop
        self.currency = seed.currency
        self._digits = digits(seed.currency)
        self.customer_accounts = "NEW_CUSTOMER_ACCOUNTS"
        # What was changed of single customers, by their number: state, tags, consent; metafields by "NAMESPACE.KEY" too.
        self.states: dict[str, str] = {}
        self.tags: dict[str, list[str]] = {}
        self.metafields: dict[tuple[str, str], str] = {}
        self.touched: dict[str, datetime] = {}
        self.consents: dict[str, bool] = {}
        self.definitions: dict[
            str, bool
        ] = {}  # of metafields that were switched on, and whether they are pinned
        self.may_pin = True
        self.test_orders: set[int] = set()
        self.shop_name = shop.partition(".")[0].replace("-", " ").title()

    # -- GraphQL -----------------------------------------------------------------------------------------------------

    def shop(self) -> View:
        return {
            "__typename": "Shop",
            "id": "gid://shopify/Shop/61000000001",
            "name": self.shop_name,
            "email": "owner@shop.example",
            "myshopifyDomain": self.shop_domain,
            "url": f"https://{self.shop_domain}",
            "currencyCode": self.currency,
            "ianaTimezone": self.seed.time_zone,
            "customerAccountsV2": {"customerAccountsVersion": self.customer_accounts},
            "createdAt": "2019-03-01T09:00:00Z",
            "taxesIncluded": False,
        }

    def customer(self, person: Person) -> View:
        number = customer_number(person)
        first, _, last = person.name.partition(" ")
        joined = z(person.joined_at) if person.joined_at else None
        return {
            "__typename": "Customer",
            "id": f"gid://shopify/Customer/{number}",
            "legacyResourceId": number,
            "firstName": first,
            "lastName": last,
            "displayName": person.name,
            "defaultEmailAddress": {
                "emailAddress": person.email,
                "marketingState": "SUBSCRIBED" if self.subscribes(person) else "NOT_SUBSCRIBED",
            },
            "defaultPhoneNumber": {"phoneNumber": phone} if (phone := phone_of(person)) else None,
            "locale": "en",
            "state": self.state(number),
            "verifiedEmail": True,
            "tags": self.tags.get(number, []),
            "numberOfOrders": "0",
            "createdAt": joined,
            "updatedAt": z(self.touched[number]) if number in self.touched else joined,
            "metafield": lambda info, key, namespace=None: self.field(person, namespace, key),
        }

    def subscribes(self, person: Person) -> bool:
        """Whether a customer takes marketing by e-mail."""
        return self.consents.get(customer_number(person), bool(person.number % 3))

    def state(self, number: str) -> str:
        """Says something in a shop with classic accounts only: with new ones nobody has a password to switch it on."""
        return self.states.get(number, "ENABLED" if self.customer_accounts == "CLASSIC" else "DISABLED")

    def field_names(self) -> list[str]:
        """The metafields that any customer has, as "NAMESPACE.KEY"."""
        return sorted({"facts.birth_date", *(name for _, name in self.metafields)})

    def field(self, person: Person, namespace: str | None, key: str) -> View | None:
        """A metafield of a customer: one that was written, or the birth date that the shop had."""
        name = full_name(namespace, key)
        value = self.metafields.get((customer_number(person), name))
        if value is None and name == "facts.birth_date":
            value = birth_date(person)
        if value is None:
            return None
        return {
            "__typename": "Metafield",
            "id": f"gid://shopify/Metafield/{_CUSTOMERS_FROM + person.number}",
            "namespace": name.rpartition(".")[0],
            "key": key,
            "type": type_of(name),
            "value": value,
        }

    def order(self, sale: Sale) -> View:
        number = order_number(sale)
        placed, money = z(sale.placed_at), self._bag
        return {
            "__typename": "Order",
            "id": f"gid://shopify/Order/{number}",
            "legacyResourceId": number,
            "name": f"#{1001 + sale.number}",
            "email": sale.email,
            "createdAt": placed,
            "processedAt": placed,
            "updatedAt": z(sale.updated_at),
            "cancelledAt": z(sale.cancelled_at) if sale.cancelled_at else None,
            "test": sale.number in self.test_orders,
            "confirmed": True,
            "currencyCode": self.currency,
            "presentmentCurrencyCode": self.currency,
            "displayFinancialStatus": paid_state(sale),
            "fullyPaid": sale.paid_at is not None,
            "discountCode": sale.code,
            "discountCodes": [sale.code] if sale.code else [],
            "customer": lambda info: self.customer(sale.person) if sale.by_account else None,
            "subtotalPriceSet": money(sale.subtotal_minor),
            "currentSubtotalPriceSet": lambda info: money(sale.subtotal_minor),
            "totalTaxSet": money(sale.tax_minor),
            "totalShippingPriceSet": money(sale.shipping_minor),
            "totalDiscountsSet": money(sale.discount_minor),
            "totalPriceSet": money(sale.total_minor),
            "totalRefundedSet": lambda info: money(sale.repaid_minor),
            "tags": [],
            "refunds": lambda info, first=None: [self.refund(r) for r in sale.repayments[:first]],
        }

    def refund(self, repayment: Repayment) -> View:
        number, at = str(REFUNDS_FROM + repayment.number), z(repayment.at)
        return {
            "__typename": "Refund",
            "id": f"gid://shopify/Refund/{number}",
            "legacyResourceId": number,
            "createdAt": at,
            "processedAt": at,
            "updatedAt": at,
            "totalRefundedSet": self._bag(repayment.total_minor),
        }

    def _bag(self, minor: int) -> View:
        money = self.money(minor)
        return {"shopMoney": money, "presentmentMoney": money}

    def money(self, minor: int) -> View:
        """An amount in the shop's currency; GraphQL writes 12.50 as "12.5" and 12.00 as "12.0"."""
        text = self.plain(minor)
        if "." in text:
            text = text.rstrip("0")
            text += "0" if text.endswith(".") else ""
        else:
            text += ".0"
        return {"amount": text, "currencyCode": self.currency}

    def minor(self, money: View) -> int:
        """Minor units of a MoneyInput in the shop's currency."""
        return int(Decimal(str(money["amount"])).scaleb(self._digits))

    def plain(self, minor: int) -> str:
        """12.50 as REST writes it."""
        if not self._digits:
            return str(minor)
        whole, rest = divmod(minor, 10**self._digits)
        return f"{whole}.{rest:0{self._digits}d}"


def connection(
    items: list[Any],
    *,
    view: Callable[[Any], Any] = lambda item: item,
    first: int | None = None,
    after: str | None = None,
) -> View:
    """A GraphQL connection over a list; a cursor is the place in it."""
    start = int(after) + 1 if after else 0
    chosen = items[start : start + (first if first is not None else 50)]
    end = start + len(chosen)
    nodes = [view(item) for item in chosen]
    return {
        "nodes": nodes,
        "edges": [{"cursor": str(start + place), "node": node} for place, node in enumerate(nodes)],
        "pageInfo": {
            "hasNextPage": end < len(items),
            "hasPreviousPage": start > 0,
            "startCursor": str(start) if nodes else None,
            "endCursor": str(end - 1) if nodes else None,
        },
    }


def birth_date(person: Person) -> str | None:
    """The metafield's text."""
    if person.birthday is None:
        return None
    month, day, year = person.birthday
    return f"{year or MADE_UP_YEAR:04d}-{month:02d}-{day:02d}"


def number_of(gid: str) -> str:
    """The number at the end of a gid."""
    return gid.rpartition("/")[2]


def z(moment: datetime) -> str:
    """A moment as GraphQL writes it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
