"""The limit of reading a Shopify shop's history: bulk files, msgspec, batched SQL; see `history_rows`."""

import asyncio

import msgspec
import uvloop
from history_rows import line, run, safe

VERSION = "2026-10"
BLOCK = 1 << 18
ORDERS = """{ orders { edges { node { id email createdAt processedAt updatedAt cancelledAt test displayFinancialStatus
  discountCodes customer { id defaultEmailAddress { emailAddress } }
  subtotalPriceSet { shopMoney { amount currencyCode } } totalTaxSet { shopMoney { amount } }
  totalShippingPriceSet { shopMoney { amount } } totalDiscountsSet { shopMoney { amount } }
  totalPriceSet { shopMoney { amount currencyCode } }
  refunds { id createdAt processedAt totalRefundedSet { shopMoney { amount } } } } } } }"""
CUSTOMERS = """{ customers { edges { node { id firstName lastName defaultEmailAddress { emailAddress marketingState }
  defaultPhoneNumber { phoneNumber } locale createdAt updatedAt birthDate: metafield(namespace: "facts", key: "birth_date") { value } } } } }"""
DISCOUNTS = """{ discountNodes(first: 100, query: "method:code", sortKey: ID) { nodes { id discount { __typename
  ... on DiscountCodeBasic { title status endsAt updatedAt usageLimit asyncUsageCount codes(first: 1) { nodes { code } } }
  ... on DiscountCodeFreeShipping {
    title status endsAt updatedAt usageLimit asyncUsageCount codes(first: 1) { nodes { code } } }
  ... on DiscountCodeBxgy {
    title status endsAt updatedAt usageLimit asyncUsageCount codes(first: 1) { nodes { code } } } } } } }"""
RUN = """mutation($query: String!) { bulkOperationRunQuery(query: $query) { bulkOperation { id }
  userErrors { field message } } }"""
POLL = "query($id: ID!) { bulkOperation(id: $id) { status url } }"
STANDS = {"PAID": "paid", "PARTIALLY_REFUNDED": "paid", "REFUNDED": "refunded"}


class Email(msgspec.Struct, rename="camel", gc=False):
    email_address: str
    marketing_state: str = ""


class Phone(msgspec.Struct, rename="camel", gc=False):
    phone_number: str


class Value(msgspec.Struct, gc=False):
    value: str


class Customer(msgspec.Struct, rename="camel", gc=False):
    id: str
    first_name: str | None
    last_name: str | None
    default_email_address: Email
    default_phone_number: Phone | None
    locale: str | None
    created_at: str
    updated_at: str
    birth_date: Value | None


class Money(msgspec.Struct, rename="camel", gc=False):
    amount: str
    currency_code: str = ""


class Bag(msgspec.Struct, rename="camel", gc=False):
    shop_money: Money


class Refund(msgspec.Struct, rename="camel", gc=False):
    id: str
    created_at: str
    total_refunded_set: Bag


class Buyer(msgspec.Struct, rename="camel", gc=False):
    id: str
    default_email_address: Email | None


class Order(msgspec.Struct, rename="camel", gc=False):
    id: str
    email: str | None
    created_at: str
    processed_at: str
    updated_at: str
    cancelled_at: str | None
    test: bool
    display_financial_status: str
    discount_codes: list[str]
    customer: Buyer | None
    subtotal_price_set: Bag
    total_tax_set: Bag
    total_shipping_price_set: Bag
    total_discounts_set: Bag
    total_price_set: Bag
    refunds: list[Refund]


def number(gid):
    return gid.rpartition("/")[2]


def minor(bag):
    """Shopify writes 12.5 for 12.50; the shop sells in euros."""
    whole, _, cents = bag.shop_money.amount.partition(".")
    return int(whole + (cents + "00")[:2])


def person(found):
    """A row of people."""
    md, year = None, None
    if found.birth_date:
        year, month, day = map(int, found.birth_date.value.split("-"))
        md, year = month * 100 + day, year
    address = found.default_email_address
    return line(
        number(found.id), safe(address.email_address), safe(f"{found.first_name} {found.last_name}"),
        found.default_phone_number.phone_number if found.default_phone_number else None, found.locale,
        "t" if address.marketing_state == "SUBSCRIBED" else "f", found.created_at, md, year, found.updated_at, "{}",
    )  # fmt: skip


def sale(found):
    """A row of sales."""
    given = found.display_financial_status
    stands = STANDS.get(given, "pending")
    email = found.email or (found.customer.default_email_address.email_address if found.customer else None)
    codes = "{" + ",".join(f'"{code.lower()}"' for code in found.discount_codes) + "}"
    return line(
        number(found.id), number(found.customer.id) if found.customer else None, safe(email),
        "cancelled" if found.cancelled_at else stands, given.lower(), found.total_price_set.shop_money.currency_code,
        minor(found.subtotal_price_set), minor(found.total_tax_set), minor(found.total_shipping_price_set),
        minor(found.total_discounts_set), minor(found.total_price_set), found.processed_at,
        found.processed_at if stands != "pending" else None, found.cancelled_at, "t" if found.test else "f", codes,
        found.updated_at,
    )  # fmt: skip


def repaid(found):
    """Rows of repaid."""
    order = number(found.id)
    return [
        line(order, number(r.id), minor(r.total_refunded_set), "succeeded", r.created_at)
        for r in found.refunds
    ]


def discount(node):
    """A row of discounts: there are few, and what they give matters to nobody here."""
    found = node["discount"]
    return line(
        number(node["id"]), found["codes"]["nodes"][0]["code"], safe(found["title"]), "other", None, None, None, None,
        "t" if found["status"] == "ACTIVE" else "f", found["endsAt"], found["usageLimit"], found["asyncUsageCount"],
        None, found["updatedAt"],
    )  # fmt: skip


async def read(limit, given):
    """One file of customers, a page of discounts, then one file of orders."""
    session, base = limit.session, given["api-base"]
    form = {
        "grant_type": "client_credentials",
        "client_id": given["client-id"],
        "client_secret": given["client-secret"],
    }
    async with session.post(f"{base}/admin/oauth/access_token", data=form) as answer:
        token = (await answer.json())["access_token"]
    await limit.begin(3)

    async def call(document, **variables):
        async with session.post(
            f"{base}/admin/api/{VERSION}/graphql.json",
            json={"query": document, "variables": variables},
            headers={"X-Shopify-Access-Token": token},
        ) as answer:
            return (await answer.json())["data"]

    async def export(window, query, struct, rows):
        made = await call(RUN, query=query)
        gid = made["bulkOperationRunQuery"]["bulkOperation"]["id"]
        while (state := (await call(POLL, id=gid))["bulkOperation"])["status"] != "COMPLETED":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        limit.urls.append(state["url"])
        decoder, tail, count = msgspec.json.Decoder(struct), b"", 0
        async with session.get(state["url"]) as answer:
            async for block in answer.content.iter_chunked(BLOCK):
                head, _, tail = (tail + block).rpartition(b"\n")
                found = decoder.decode_lines(head)
                count += len(found)
                await limit.put(window, count, len(found), **rows(found))

    await limit.phase(export(0, CUSTOMERS, Customer, lambda found: {"people": list(map(person, found))}))

    async def discounts():
        found = (await call(DISCOUNTS))["discountNodes"]["nodes"]
        await limit.put(1, 0, len(found), discounts=list(map(discount, found)))

    await limit.phase(discounts())
    await limit.phase(
        export(
            2,
            ORDERS,
            Order,
            lambda found: {
                "sales": list(map(sale, found)),
                "repaid": [row for order in found if order.refunds for row in repaid(order)],
            },
        )
    )


if __name__ == "__main__":
    uvloop.run(run(read))
