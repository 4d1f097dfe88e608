"""Store credit: money in a customer's account with the shop.

Giving it has neither an idempotency key nor a reference of ours, so an earlier request is recognised by what it gave:
the amount, the end, and that it is not older than a day when it was asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from connectors.shopify.client import ShopifyClient
from connectors.shopify.coupons import Money, Numbered
from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import Moment, external_id, gid
from connectors.shopify.value_lookups import CREDIT_TRANSACTION, ValueLookups, minor
from rewards.errors import RefusedError, RetryLaterError
from rewards.money import decimal_text
from rewards.records import CodeDraft, HeldValue

# help.shopify.com, store credit: the most that one customer's account may hold.
MOST_IN_DOLLARS = 15_000
_DEBIT_TRANSACTION = "StoreCreditAccountDebitTransaction"
_PAGE = 50
# How much a clock of ours may be ahead. What was given has an end that tells it apart, what was taken back has nothing.
_GIVEN_SINCE, _TAKEN_SINCE = timedelta(days=1), timedelta(minutes=5)
_SAME_TIME = timedelta(minutes=1)
_ADVICE = {
    "CREDIT_LIMIT_EXCEEDED": f" A customer's store credit is less than {MOST_IN_DOLLARS:,} US dollars in all.",
    "OWNER_NOT_FOUND": " The customer is gone from the shop.",
    "UNSUPPORTED_CURRENCY": " Give a code, or an amount in a currency that Shopify has store credit in.",
}


class _Account(msgspec.Struct):
    id: str
    balance: Money


class _Accounts(msgspec.Struct):
    nodes: list[_Account]


class _Customer(msgspec.Struct, rename="camel"):
    store_credit_accounts: _Accounts


class _CustomerData(msgspec.Struct):
    customer: _Customer | None = None


class _Transaction(msgspec.Struct, rename="camel"):
    kind: str = msgspec.field(name="__typename")
    amount: Money
    created_at: Moment
    event: str = ""
    id: str = ""
    expires_at: Moment | None = None


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool = False
    end_cursor: str | None = None


class _Transactions(msgspec.Struct, rename="camel"):
    nodes: list[_Transaction]
    page_info: _PageInfo


class _History(msgspec.Struct):
    transactions: _Transactions


class _HistoryData(msgspec.Struct, rename="camel"):
    store_credit_account: _History | None = None


class _Result(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]
    store_credit_account_transaction: Numbered | None = None


class _Changed(msgspec.Struct):
    result: _Result


class StoreCredit:
    """The store credit of one shop's customers. `tells`: Shopify tells the customer."""

    def __init__(self, client: ShopifyClient, lookups: ValueLookups, *, tells: bool) -> None:
        self._client = client
        self._lookups = lookups
        self._tells = tells

    async def give(self, draft: CodeDraft, asked_at: datetime) -> str:
        """Credits the customer's account; the number of the transaction."""
        benefit = draft.benefit
        if draft.customer_external_id is None:
            raise RefusedError(
                "Store credit on Shopify belongs to a customer record, and this member has none."
            )
        credit = {
            "creditAmount": _money(benefit.amount_minor or 0, benefit.currency or ""),
            "expiresAt": draft.ends_at,
            "notify": self._tells,
        }
        asked = {"id": gid("Customer", draft.customer_external_id), "creditInput": credit}
        return await self._change("store_credit_credit", asked)

    async def look_for(self, draft: CodeDraft, asked_at: datetime, others: Collection[str]) -> str | None:
        """The credit of that amount, with that end, since then.

        Raises RefusedError where there is one of that amount that ends at another time: perhaps ours, perhaps not.
        """
        account = await self._account(draft)
        if account is None:
            return None
        is_unsure = False
        async for found in self._since(account, asked_at - _GIVEN_SINCE):
            is_ours = found.kind == CREDIT_TRANSACTION and external_id(found.id) not in others
            if not is_ours or minor(found.amount) != draft.benefit.amount_minor:
                continue
            if found.expires_at is not None and abs(found.expires_at - draft.ends_at) <= _SAME_TIME:
                return external_id(found.id)
            is_unsure = True
        if is_unsure:
            raise RefusedError(
                "Shopify's answer was lost, and the customer was given the same amount on that day with another end: "
                "look at their store credit in the Shopify admin, and give it by hand where it is missing."
            )
        return None

    async def take_back(self, number: str, held: HeldValue, asked_at: datetime | None) -> int:
        """Debits what is left of a credit, unless that was done since it was asked for."""
        credit = (await self._lookups.credits([number])).get(number)
        if credit is None:
            raise RefusedError("Shopify knows nothing of this store credit any more.")
        account = credit.account.id
        if asked_at is not None:
            async for found in self._since(account, asked_at - _TAKEN_SINCE):
                if found.kind == _DEBIT_TRANSACTION and found.event == "ADJUSTMENT":
                    return minor(found.amount)
        if held.left_minor <= 0:
            return 0
        asked = {"id": account, "debitInput": {"debitAmount": _money(held.left_minor, held.currency)}}
        await self._change("store_credit_debit", asked)
        return held.left_minor

    async def _account(self, draft: CodeDraft) -> str | None:
        """The customer's account in the draft's currency; None where they have none."""
        asked = {"id": gid("Customer", draft.customer_external_id or "")}
        customer = (await self._client.call("store_credit_accounts", asked, _CustomerData)).customer
        if customer is None:
            raise RefusedError(
                "The customer is gone from the shop, and with them the record of whether they were given their store "
                "credit: look in the Shopify admin whether their records were merged."
            )
        accounts = customer.store_credit_accounts.nodes
        wanted = (draft.benefit.currency or "").upper()
        return next((account.id for account in accounts if account.balance.currency_code == wanted), None)

    async def _since(self, account: str, first: datetime) -> AsyncIterator[_Transaction]:
        """The account's transactions from then on, newest first."""
        after: str | None = None
        while True:
            asked = {"id": account, "first": _PAGE, "after": after}
            history = (
                await self._client.call("store_credit_transactions", asked, _HistoryData)
            ).store_credit_account
            if history is None:
                return
            for found in history.transactions.nodes:
                if found.created_at < first:
                    return
                yield found
            if not history.transactions.page_info.has_next_page:
                return
            after = history.transactions.page_info.end_cursor

    async def _change(self, name: str, asked: Mapping[str, object]) -> str:
        result = (await self._client.call(name, asked, _Changed)).result
        if result.user_errors:
            error, code = refusal(result.user_errors), result.user_errors[0].code or ""
            if code == "INSUFFICIENT_FUNDS":
                raise RetryLaterError("The customer is spending their store credit just now.")
            raise RefusedError(f"{error}{_ADVICE.get(code, '')}", code=code)
        if result.store_credit_account_transaction is None:
            raise RetryLaterError("Shopify did not say what it has done.")
        return external_id(result.store_credit_account_transaction.id)


def _money(amount_minor: int, currency: str) -> dict[str, str]:
    return {"amount": decimal_text(amount_minor, currency), "currencyCode": currency.upper()}
