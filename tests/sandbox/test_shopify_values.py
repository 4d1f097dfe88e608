"""The stand-in's gift cards and store credit behave as the schema, the reference and recorded answers say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sandbox.server import CheckoutRefused
from tests.sandbox.test_shopify import Shop, open_shop

CARD = """
mutation ($input: GiftCardCreateInput!) {
  giftCardCreate(input: $input) {
    giftCard { id lastCharacters maskedCode enabled expiresOn balance { amount } customer { id } }
    giftCardCode userErrors { field message code }
  }
}
"""
OFF = "mutation ($id: ID!) { giftCardDeactivate(id: $id) { giftCard { enabled } userErrors { code } } }"
CREDIT = """
mutation ($id: ID!, $input: StoreCreditAccountCreditInput!) {
  storeCreditAccountCredit(id: $id, creditInput: $input) {
    storeCreditAccountTransaction {
      id expiresAt remainingAmount { amount } balanceAfterTransaction { amount } account { id }
    }
    userErrors { field message code }
  }
}
"""
DEBIT = """
mutation ($id: ID!, $input: StoreCreditAccountDebitInput!) {
  storeCreditAccountDebit(id: $id, debitInput: $input) {
    storeCreditAccountTransaction { id amount { amount } } userErrors { code }
  }
}
"""
ACCOUNTS = """
query ($id: ID!) {
  customer(id: $id) {
    storeCreditAccounts(first: 5) {
      nodes {
        id balance { amount currencyCode }
        transactions(first: 50, reverse: true) {
          nodes { __typename amount { amount } event ... on StoreCreditAccountCreditTransaction { remainingAmount { amount } } }
        }
      }
    }
  }
}
"""


def somebody(shop: Shop) -> str:
    return f"gid://shopify/Customer/{next(iter(shop.sandbox.customers))}"


def euros(amount: str, currency: str = "EUR") -> dict[str, str]:
    return {"amount": amount, "currencyCode": currency}


async def card(shop: Shop, **content: Any) -> dict[str, Any]:
    asked = {"initialAmount": euros("25.00"), "code": "abcd2345wxyz"} | content
    made: dict[str, Any] = (await shop.post(CARD, {"input": asked}))["data"]["giftCardCreate"]
    return made


async def credit(shop: Shop, **content: Any) -> dict[str, Any]:
    owner = content.pop("id", somebody(shop))
    asked = {"creditAmount": euros("10.00")} | content
    found: dict[str, Any] = (await shop.post(CREDIT, {"id": owner, "input": asked}))["data"][
        "storeCreditAccountCredit"
    ]
    return found


async def accounts(shop: Shop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await shop.post(ACCOUNTS, {"id": somebody(shop)}))["data"]["customer"][
        "storeCreditAccounts"
    ]["nodes"]
    return found


async def test_the_whole_code_is_told_once_and_then_its_last_characters_only() -> None:
    async with open_shop() as shop:
        made = await card(shop, customerId=somebody(shop), expiresOn="2999-01-31")
        assert made["giftCardCode"] == "abcd2345wxyz"
        assert made["giftCard"]["lastCharacters"] == "wxyz"
        assert made["giftCard"]["maskedCode"].endswith("wxyz")
        assert made["giftCard"]["customer"] == {"id": somebody(shop)}
        search = "query ($q: String) { giftCards(first: 5, query: $q) { nodes { id lastCharacters } } }"
        for words, count in (("ABCD2345WXYZ", 1), ("abcd2345wxy", 0)):
            nodes = (await shop.post(search, {"q": words}))["data"]["giftCards"]["nodes"]
            assert len(nodes) == count


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ({"code": "short12"}, "TOO_SHORT", "at least 8"),
        ({"code": "a" * 21}, "TOO_LONG", "at most 20"),
        ({"code": "WITH-DASH"}, "INVALID", "letters"),
        ({"initialAmount": euros("0")}, "GREATER_THAN", "greater than 0"),
        ({"initialAmount": euros("2000.01")}, "GIFT_CARD_LIMIT_EXCEEDED", "can't exceed 2000.00 EUR"),
        ({"customerId": "gid://shopify/Customer/1"}, "CUSTOMER_NOT_FOUND", "customer"),
        ({"recipientAttributes": {"id": "gid://shopify/Customer/1"}}, "RECIPIENT_NOT_FOUND", "recipient"),
        ({"expiresOn": "2020-01-01"}, "INVALID", "future"),
    ],
)
async def test_wrong_gift_cards_get_shopifys_user_errors(
    content: dict[str, Any], code: str, message: str
) -> None:
    async with open_shop() as shop:
        made = await card(shop, **content)
        [error] = made["userErrors"]
        assert (made["giftCard"], error["code"]) == (None, code)
        assert message in error["message"]
        assert shop.sandbox.cards.cards == {}


async def test_a_code_that_is_taken_and_a_plan_without_gift_cards_have_no_error_code() -> None:
    async with open_shop() as shop:
        await card(shop)
        [taken] = (await card(shop, code="ABCD2345WXYZ"))["userErrors"]
        assert taken == {"field": ["input", "code"], "message": "Code has already been taken", "code": None}
        shop.sandbox.cards.plan_has_them = False
        [error] = (await card(shop, code="another1"))["userErrors"]
        assert (error["field"], error["code"]) == (["base"], None)


@pytest.mark.parametrize("days", [-1, 91])
async def test_a_card_is_sent_within_ninety_days_and_never_in_the_past(days: int) -> None:
    async with open_shop() as shop:
        at = (shop.sandbox.clock() + timedelta(days=days)).isoformat()
        recipient = {"id": somebody(shop), "sendNotificationAt": at}
        [error] = (await card(shop, recipientAttributes=recipient))["userErrors"]
        assert error["field"][-1] == "sendNotificationAt"


async def test_a_card_that_is_switched_off_pays_no_more_and_the_balance_only_once() -> None:
    async with open_shop() as shop:
        made = await card(shop)
        order = {"email": "a.stranger@people.example", "subtotal_minor": 1_000, "gift_card": "ABCD2345WXYZ"}
        placed = shop.sandbox.place_order(order)
        [held] = shop.sandbox.cards.cards.values()
        assert held.balance_minor == 2_500 - int(str(placed["total_minor"]))
        with pytest.raises(CheckoutRefused, match="used_up"):
            shop.sandbox.place_order({**order, "subtotal_minor": 10_000})
        off = (await shop.post(OFF, {"id": made["giftCard"]["id"]}))["data"]["giftCardDeactivate"]
        assert off == {"giftCard": {"enabled": False}, "userErrors": []}
        with pytest.raises(CheckoutRefused, match="expired"):
            shop.sandbox.place_order({**order, "subtotal_minor": 1})
        gone = (await shop.post(OFF, {"id": "gid://shopify/GiftCard/1"}))["data"]["giftCardDeactivate"]
        assert gone["userErrors"] == [{"code": "GIFT_CARD_NOT_FOUND"}]


async def test_each_credit_gives_once_more_and_an_account_is_made_for_each_currency() -> None:
    async with open_shop() as shop:
        for _ in range(2):
            assert (await credit(shop))["userErrors"] == []
        await credit(shop, creditAmount=euros("3.00", "USD"))
        found = await accounts(shop)
        held = [(one["balance"]["currencyCode"], one["balance"]["amount"]) for one in found]
        assert held == [("EUR", "20.0"), ("USD", "3.0")]


async def test_what_ends_first_is_spent_first_and_what_is_over_goes() -> None:
    async with open_shop() as shop:
        now = shop.sandbox.clock()
        late = await credit(shop, expiresAt=(now + timedelta(days=20)).isoformat())
        await credit(shop, expiresAt=(now + timedelta(days=10)).isoformat())
        account = late["storeCreditAccountTransaction"]["account"]["id"]
        debit = {"id": account, "input": {"debitAmount": euros("6.00")}}
        assert (await shop.post(DEBIT, debit))["data"]["storeCreditAccountDebit"]["userErrors"] == []
        [found] = await accounts(shop)
        left = [
            one["remainingAmount"]["amount"]
            for one in found["transactions"]["nodes"]
            if "remainingAmount" in one
        ]
        assert left == ["4.0", "10.0"], "newest first: the sooner one was spent"
        shop.sandbox.clock = lambda: now + timedelta(days=11)
        [found] = await accounts(shop)
        assert found["balance"]["amount"] == "10.0"
        kinds = [
            one["__typename"].removeprefix("StoreCreditAccount") for one in found["transactions"]["nodes"]
        ]
        assert kinds == [
            "ExpirationTransaction",
            "DebitTransaction",
            "CreditTransaction",
            "CreditTransaction",
        ]
        debit["input"] = {"debitAmount": euros("10.01")}
        errors = (await shop.post(DEBIT, debit))["data"]["storeCreditAccountDebit"]["userErrors"]
        assert errors == [{"code": "INSUFFICIENT_FUNDS"}]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"id": "gid://shopify/Customer/1"}, "OWNER_NOT_FOUND"),
        ({"id": "gid://shopify/StoreCreditAccount/1"}, "ACCOUNT_NOT_FOUND"),
        ({"creditAmount": euros("-1")}, "NEGATIVE_OR_ZERO_AMOUNT"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "EXPIRES_AT_IN_PAST"),
        ({"creditAmount": euros("15000.00")}, "CREDIT_LIMIT_EXCEEDED"),
    ],
)
async def test_wrong_credits_get_shopifys_user_errors(content: dict[str, Any], code: str) -> None:
    async with open_shop() as shop:
        made = await credit(shop, **content)
        assert [error["code"] for error in made["userErrors"]] == [code]
        assert made["storeCreditAccountTransaction"] is None


async def test_credit_can_be_given_while_it_cannot_be_spent() -> None:
    async with open_shop() as shop:
        await credit(shop)
        order = {"customer": somebody(shop).rpartition("/")[2], "subtotal_minor": 300, "store_credit": True}
        shop.sandbox.credit.is_on = False
        with pytest.raises(CheckoutRefused):
            shop.sandbox.place_order(order)
        shop.sandbox.credit.is_on = True
        shop.sandbox.place_order(order)
        with pytest.raises(CheckoutRefused, match="used_up"):
            shop.sandbox.place_order(
                {"email": "a.stranger@people.example", "subtotal_minor": 1, "store_credit": True}
            )


async def test_an_answer_that_is_never_sent_leaves_what_was_done() -> None:
    import aiohttp

    async with open_shop() as shop:
        shop.sandbox.unanswered["storeCreditAccountCredit"] = 1
        with pytest.raises(aiohttp.ClientError):
            await credit(shop)
        [found] = await accounts(shop)
        assert found["balance"]["amount"] == "10.0"
        assert (await credit(shop))["userErrors"] == []


@pytest.mark.parametrize(
    ("scope", "query"),
    [
        ("write_gift_cards", "{ giftCardConfiguration { issueLimit { amount } } }"),
        ("write_gift_cards", "{ giftCards(first: 1) { nodes { id } } }"),
        (
            "read_store_credit_accounts",
            '{ customer(id: "gid://shopify/Customer/7000000001") { storeCreditAccounts(first: 1) { nodes { id } } } }',
        ),
        (
            "write_store_credit_account_transactions",
            '{ storeCreditAccount(id: "gid://shopify/StoreCreditAccount/1") { transactions(first: 1) { nodes { event } } } }',
        ),
    ],
)
async def test_each_part_needs_its_own_permission(scope: str, query: str) -> None:
    from sandbox.shopify_access import access_denied

    async with open_shop() as shop:
        scopes = shop.sandbox.oauth.scopes
        assert access_denied(query, scopes) is None
        refused = access_denied(query, [held for held in scopes if held != scope])
        assert refused is not None
        needed = refused["errors"][0]["extensions"]["requiredAccess"]
        assert scope.partition("_")[2] in needed
