"""The stand-in Shopify behaves as the reference says the platform does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from connectors.base import RawDelivery, StoreOptions
from connectors.shopify import CONNECTOR
from rewards.changes import CustomerSaved
from sandbox.server import CheckoutRefused
from sandbox.shopify import ADMIN_TOKEN, API_VERSION, CLIENT_SECRET, ShopifySandbox
from sandbox.shopify_graphql import schema
from sandbox.world import Seed, World

SEED = Seed(number=4, customers=60, orders=240, refund_share=0.2, cancel_share=0.1, unpaid_share=0.1)

ORDER = """
  __typename id email createdAt processedAt updatedAt cancelledAt test displayFinancialStatus discountCodes
  customer { id defaultEmailAddress { emailAddress marketingState } birth: metafield(namespace: "facts", key: "birth_date") { value } }
  subtotalPriceSet { shopMoney { amount currencyCode } }
  totalPriceSet { shopMoney { amount } presentmentMoney { amount } }
  refunds { id createdAt totalRefundedSet { shopMoney { amount } } }
"""
CUSTOMER = 'id firstName birth: metafield(namespace: "facts", key: "birth_date") { value type } createdAt'

CREATE = """
mutation ($input: DiscountCodeBasicInput!) {
  discountCodeBasicCreate(basicCodeDiscount: $input) {
    codeDiscountNode { id codeDiscount { ... on DiscountCodeBasic { status codes(first: 1) { nodes { code } } } } }
    userErrors { field message code }
  }
}
"""
SUBSCRIBE = """
mutation ($topic: WebhookSubscriptionTopic!, $input: WebhookSubscriptionInput!) {
  webhookSubscriptionCreate(topic: $topic, webhookSubscription: $input) {
    webhookSubscription { id } userErrors { field message }
  }
}
"""
RUN = """
mutation ($query: String!) {
  bulkOperationRunQuery(query: $query, groupObjects: false) { bulkOperation { id status } userErrors { code message } }
}
"""


@dataclass
class Shop:
    sandbox: ShopifySandbox
    session: aiohttp.ClientSession

    async def post(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        async with self.session.post(
            f"{self.sandbox.url}/admin/api/{API_VERSION}/graphql.json",
            json={"query": query, "variables": variables or {}},
            headers={"X-Shopify-Access-Token": ADMIN_TOKEN},
        ) as answer:
            assert answer.status == 200
            assert answer.headers["X-Shopify-API-Version"] == API_VERSION
            return dict(await answer.json())

    async def export(self, query: str) -> dict[str, Any]:
        started = (await self.post(RUN, {"query": query}))["data"]["bulkOperationRunQuery"]
        assert started["userErrors"] == []
        poll = "query ($id: ID!) { bulkOperation(id: $id) { status url rootObjectCount fileSize } }"
        async with asyncio.timeout(10):
            while True:
                data = await self.post(poll, {"id": started["bulkOperation"]["id"]})
                operation: dict[str, Any] = data["data"]["bulkOperation"]
                if operation["status"] == "COMPLETED":
                    return operation
                await asyncio.sleep(0.01)

    async def lines(self, query: str) -> list[dict[str, Any]]:
        operation = await self.export(query)
        async with self.session.get(operation["url"]) as answer:
            text = await answer.text()
        assert len(text.encode()) == int(operation["fileSize"])
        return [json.loads(line) for line in text.splitlines()]


@contextlib.asynccontextmanager
async def open_shop(seed: Seed = SEED) -> AsyncIterator[Shop]:
    sandbox = ShopifySandbox(World(seed))
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Shop(sandbox, session)
    finally:
        await sandbox.stop()


@dataclass
class Ear:
    """Keeps what is posted to it; answers with `status`."""

    status: int = 200
    url: str = ""
    heard: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status)


@contextlib.asynccontextmanager
async def an_ear(status: int = 200) -> AsyncIterator[Ear]:
    ear, app = Ear(status), web.Application()
    app.router.add_post("/hooks", ear.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ear.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    try:
        yield ear
    finally:
        await runner.cleanup()


async def all_nodes(shop: Shop, connection: str, selection: str) -> list[dict[str, Any]]:
    """The same through graphql-core, in ordinary pages."""
    query = f"query ($after: String) {{ {connection}(first: 25, after: $after) {{ nodes {{ {selection} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        page = (await shop.post(query, {"after": after}))["data"][connection]
        nodes += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return nodes
        after = page["pageInfo"]["endCursor"]


@pytest.mark.parametrize(("connection", "selection"), [("orders", ORDER), ("customers", CUSTOMER)])
async def test_a_bulk_line_equals_what_graphql_answers(connection: str, selection: str) -> None:
    async with open_shop() as shop:
        shop.sandbox.limiter_on = False
        lines = await shop.lines(f"{{ {connection} {{ edges {{ node {{ {selection} }} }} }} }}")
        assert lines == await all_nodes(shop, connection, selection)
        assert len(lines) == (SEED.orders if connection == "orders" else SEED.customers)


async def test_the_seed_shows_every_kind_of_order() -> None:
    async with open_shop() as shop:
        lines = await shop.lines(f"{{ orders {{ edges {{ node {{ {ORDER} }} }} }} }}")
        words = {line["displayFinancialStatus"] for line in lines}
        assert words == {"PAID", "PENDING", "PARTIALLY_REFUNDED", "REFUNDED"}
        forgot = [line for line in lines if line["customer"] is None and line["email"].isupper()]
        assert forgot, "nobody with an account bought without signing in"
        years = {
            line["birth"]["value"][:4]
            for line in await shop.lines(f"{{ customers {{ edges {{ node {{ {CUSTOMER} }} }} }} }}")
            if line["birth"]
        }
        assert "1904" in years


async def test_an_export_obeys_its_search_and_an_empty_one_has_no_url() -> None:
    async with open_shop() as shop:
        times = sorted(sale.updated_at for sale in shop.sandbox.world.sales)
        since = times[200].strftime("%Y-%m-%dT%H:%M:%SZ")
        query = "{ orders(query: \"updated_at:>='%s'\") { edges { node { id updatedAt } } } }"
        lines = await shop.lines(query % since)
        assert len(lines) == sum(time >= times[200] for time in times)
        assert min(line["updatedAt"] for line in lines) == since
        nothing = await shop.export(query % "2999-01-01T00:00:00Z")
        assert (nothing["url"], nothing["rootObjectCount"]) == (None, "0")


@pytest.mark.parametrize(
    "query",
    [
        "{ shop { id } }",
        "query ($q: String) { orders(query: $q) { edges { node { id } } } }",
        "{ orders { edges { node { nope } } } }",
        "{ orders { edges { node { id } } } customers { edges { node { id } } } }",
        "not graphql",
    ],
)
async def test_a_bulk_query_against_the_rules_is_a_user_error(query: str) -> None:
    async with open_shop() as shop:
        run = (await shop.post(RUN, {"query": query}))["data"]["bulkOperationRunQuery"]
        assert run["bulkOperation"] is None
        assert [error["code"] for error in run["userErrors"]] == ["INVALID"]


async def test_five_exports_run_at_once_and_no_sixth() -> None:
    async with open_shop() as shop:
        query = "{ customers { edges { node { id } } } }"
        runs = [(await shop.post(RUN, {"query": query}))["data"]["bulkOperationRunQuery"] for _ in range(6)]
        states = [run["bulkOperation"] is not None for run in runs]
        assert states == [True] * 5 + [False]
        assert runs[5]["userErrors"][0]["code"] == "OPERATION_IN_PROGRESS"


async def test_a_result_needs_its_signature_and_no_token() -> None:
    async with open_shop() as shop:
        url = (await shop.export("{ customers { edges { node { id } } } }"))["url"]
        async with shop.session.get(url) as answer:
            assert answer.status == 200
        async with shop.session.get(url[:-4] + "0000") as answer:
            assert answer.status == 403


async def test_a_file_made_beforehand_is_used_until_something_changes() -> None:
    async with open_shop() as shop:
        query = "{ orders { edges { node { id } } } }"
        ready = await shop.sandbox.render_beforehand(query)
        assert await shop.sandbox.render_beforehand(query) is ready
        shop.sandbox.place_order({"email": "new@people.example", "subtotal_minor": 100})
        assert len(await shop.lines(query)) == SEED.orders + 1


async def test_a_dead_token_is_401() -> None:
    async with open_shop() as shop:
        for token in ("", "shpat_wrong"):
            async with shop.session.post(
                f"{shop.sandbox.url}/admin/api/{API_VERSION}/graphql.json",
                json={"query": "{ shop { id } }"},
                headers={"X-Shopify-Access-Token": token},
            ) as answer:
                assert answer.status == 401


# -- cost ------------------------------------------------------------------------------------------------------------


async def test_costs_are_told_and_the_difference_is_given_back() -> None:
    async with open_shop() as shop:
        body = await shop.post("{ customers(first: 100) { nodes { id } } }")
        cost = body["extensions"]["cost"]
        assert (cost["requestedQueryCost"], cost["actualQueryCost"]) == (100, SEED.customers + 1)
        status = cost["throttleStatus"]
        assert (status["maximumAvailable"], status["restoreRate"]) == (2_000, 100)
        assert 1_900 < status["currentlyAvailable"] <= 2_000


async def test_an_empty_bucket_answers_throttled_with_200() -> None:
    async with open_shop() as shop:
        shop.sandbox.bucket.take(1_995)
        body = await shop.post("{ customers(first: 100) { nodes { id } } }")
        assert body["errors"][0]["extensions"]["code"] == "THROTTLED"
        assert body["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"] < 100
        shop.sandbox.limiter_on = False
        assert "errors" not in await shop.post("{ customers(first: 100) { nodes { id } } }")


async def test_one_request_may_not_cost_more_than_1000() -> None:
    async with open_shop() as shop:
        body = await shop.post(
            "{ orders(first: 250) { nodes { id customer { id } refunds { id } totalPriceSet { shopMoney { amount } } } } }"
        )
        assert body["errors"][0]["extensions"]["code"] == "MAX_COST_EXCEEDED"


# -- discounts and the checkout --------------------------------------------------------------------------------------


def discount(shop: Shop, code: str, **changes: Any) -> dict[str, Any]:
    customer = next(iter(shop.sandbox.customers))
    return {
        "title": "Test",
        "code": code,
        "startsAt": "2020-01-01T00:00:00Z",
        "usageLimit": 1,
        "context": {"customers": {"add": [f"gid://shopify/Customer/{customer}"]}},
        "customerGets": {"value": {"percentage": 0.25}, "items": {"all": True}},
    } | changes


async def create(shop: Shop, code: str, **changes: Any) -> dict[str, Any]:
    body = await shop.post(CREATE, {"input": discount(shop, code, **changes)})
    created: dict[str, Any] = body["data"]["discountCodeBasicCreate"]
    return created


async def test_a_code_is_unique_whatever_its_letter_case() -> None:
    async with open_shop() as shop:
        assert (await create(shop, "ONCE-1"))["userErrors"] == []
        for code in ("once-1", "welcome10"):
            [error] = (await create(shop, code))["userErrors"]
            assert error["code"] == "TAKEN"
            assert error["field"] == ["basicCodeDiscount", "code"]
        assert shop.sandbox.codes_in_store() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"title": None}, "BLANK"),
        ({"context": None}, "BLANK"),
        ({"endsAt": "2019-01-01T00:00:00Z"}, "END_DATE_BEFORE_START_DATE"),
        ({"context": {"customers": {"add": ["gid://shopify/Customer/1"]}}}, "INVALID"),
        ({"customerGets": {"value": {"percentage": 1.5}, "items": {"all": True}}}, "VALUE_OUTSIDE_RANGE"),
    ],
)
async def test_wrong_discounts_get_shopifys_user_errors(changes: dict[str, Any], code: str) -> None:
    async with open_shop() as shop:
        assert [error["code"] for error in (await create(shop, "X", **changes))["userErrors"]] == [code]


async def test_context_takes_exactly_one_kind_of_buyer() -> None:
    async with open_shop() as shop:
        both = {"all": "ALL", "customers": {"add": []}}
        body = await shop.post(CREATE, {"input": discount(shop, "X", context=both)})
        assert "errors" in body
        assert shop.sandbox.codes_in_store() == 0


async def test_the_checkout_holds_the_rules_of_a_code() -> None:
    async with open_shop() as shop:
        sandbox = shop.sandbox
        owner, other = list(sandbox.customers)[:2]
        await create(shop, "MINE")
        await create(shop, "OVER", endsAt="2020-01-02T00:00:00Z")
        await create(shop, "LATER", startsAt="2999-01-01T00:00:00Z")

        def buy(code: str, **who: str) -> dict[str, object]:
            return sandbox.place_order({"subtotal_minor": 10_000, "code": code, **who})

        for code, who, reason in (
            ("NEVER", {"customer": owner}, "unknown_code"),
            ("OVER", {"customer": owner}, "expired"),
            ("LATER", {"customer": owner}, "expired"),
            ("MINE", {"customer": other}, "wrong_customer"),
            ("MINE", {"email": "a.stranger@people.example"}, "wrong_customer"),
            ("SPRING5", {"customer": owner}, "expired"),
        ):
            with pytest.raises(CheckoutRefused, match=reason):
                buy(code, **who)
        assert buy("mine", email=sandbox.customers[owner].email.upper())["discount_minor"] == 2_500
        with pytest.raises(CheckoutRefused, match="used_up"):
            buy("MINE", customer=owner)
        assert buy("WELCOME10", customer=owner)["discount_minor"] == 1_000
        assert sandbox.redemptions == 1, "the merchant's own codes are no redemptions of the app's"


# -- webhooks --------------------------------------------------------------------------------------------------------


async def subscribe(shop: Shop, topic: str, uri: str, **more: Any) -> dict[str, Any]:
    body = await shop.post(SUBSCRIBE, {"topic": topic, "input": {"uri": uri, **more}})
    created: dict[str, Any] = body["data"]["webhookSubscriptionCreate"]
    return created


async def test_posts_are_signed_and_named_as_shopify_does() -> None:
    async with open_shop() as shop, an_ear() as ear:
        for topic in ("ORDERS_PAID", "REFUNDS_CREATE", "ORDERS_CANCELLED"):
            assert (await subscribe(shop, topic, ear.url))["userErrors"] == []
        order = str(shop.sandbox.place_order({"email": "a@people.example", "subtotal_minor": 2_000})["order"])
        shop.sandbox.refund_order(order, 500)
        shop.sandbox.cancel_order(order)
        await shop.sandbox.hooks.quiet()
        heard = {headers["X-Shopify-Topic"]: (headers, json.loads(body)) for headers, body in ear.heard}
        assert set(heard) == {"orders/paid", "refunds/create", "orders/cancelled"}
        for headers, body in ear.heard:
            mac = hmac.new(CLIENT_SECRET.encode(), body, hashlib.sha256).digest()
            assert headers["X-Shopify-Hmac-Sha256"] == base64.b64encode(mac).decode()
            assert headers["X-Shopify-Shop-Domain"] == shop.sandbox.shop
            assert headers["X-Shopify-API-Version"] == API_VERSION
            assert headers["X-Shopify-Triggered-At"].endswith("Z")
        assert len({headers["X-Shopify-Webhook-Id"] for headers, _ in ear.heard}) == 3
        assert heard["orders/paid"][1]["id"] == int(order)
        assert heard["refunds/create"][1]["transactions"][0]["amount"] == "5.00"
        assert heard["orders/cancelled"][1]["financial_status"] == "partially_refunded"
        assert len(shop.sandbox.hooks.accepted) == 3


async def test_a_birthday_comes_by_webhook_to_those_who_ask_for_the_metafield() -> None:
    async with open_shop() as shop, an_ear() as plain, an_ear() as asking:
        wanted = [{"namespace": "facts", "key": "birth_date"}]
        await subscribe(shop, "CUSTOMERS_CREATE", plain.url)
        await subscribe(shop, "CUSTOMERS_CREATE", asking.url, metafields=wanted)
        number = shop.sandbox.sign_up("Ada Berg", "ada@people.example", (2, 29, None))
        await shop.sandbox.hooks.quiet()
        [[_, without]], [[headers, body]] = plain.heard, asking.heard
        assert "metafields" not in json.loads(without)
        [birth] = json.loads(body)["metafields"]
        assert (birth["namespace"], birth["key"], birth["value"]) == ("facts", "birth_date", "1904-02-29")
        delivery = RawDelivery({name.lower(): text for name, text in headers.items()}, body)
        [change] = CONNECTOR.webhooks.parse(delivery, StoreOptions("EUR", "Europe/Madrid"))
        assert isinstance(change, CustomerSaved)
        assert change.customer.external_id == number
        assert change.customer.birthday is not None
        assert change.customer.birthday.md == 229


async def test_a_subscription_is_deleted_after_eight_failures_in_a_row() -> None:
    async with open_shop() as shop, an_ear(status=500) as ear:
        shop.sandbox.hooks.RETRY_SECONDS = 0.001
        await subscribe(shop, "ORDERS_PAID", ear.url)
        [error] = (await subscribe(shop, "ORDERS_PAID", ear.url))["userErrors"]
        assert "already been taken" in error["message"]
        shop.sandbox.place_order({"email": "a@people.example", "subtotal_minor": 2_000})
        await shop.sandbox.hooks.quiet()
        assert len(ear.heard) == 9, "one try and eight more"
        assert len({headers["X-Shopify-Webhook-Id"] for headers, _ in ear.heard}) == 1
        page = await shop.post("{ webhookSubscriptions(first: 10) { nodes { id } } }")
        assert page["data"]["webhookSubscriptions"]["nodes"] == []


async def test_uninstalling_kills_tokens_and_tells_the_app() -> None:
    async with open_shop() as shop, an_ear() as ear:
        answers = shop.sandbox.connect_answers()
        form = {"grant_type": "client_credentials"} | {
            name.replace("-", "_"): answers[name] for name in ("client-id", "client-secret")
        }
        async with shop.session.post(f"{shop.sandbox.url}/admin/oauth/access_token", data=form) as answer:
            token = (await answer.json())["access_token"]
        shop.sandbox.hook_desk.app_uri = ear.url
        shop.sandbox.ask_privacy("customers/redact", next(iter(shop.sandbox.customers)))
        shop.sandbox.uninstall()
        await shop.sandbox.hooks.quiet()
        topics = {headers["X-Shopify-Topic"] for headers, _ in ear.heard}
        assert topics == {"customers/redact", "app/uninstalled"}
        async with shop.session.post(
            f"{shop.sandbox.url}/admin/api/{API_VERSION}/graphql.json",
            json={"query": "{ shop { id } }"},
            headers={"X-Shopify-Access-Token": token},
        ) as answer:
            assert answer.status == 401


def test_the_schema_is_read_once() -> None:
    assert schema() is schema()
