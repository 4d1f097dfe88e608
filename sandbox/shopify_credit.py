"""The stand-in Shopify shop's store credit: customers' accounts, what is put into them, spent, and what ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from sandbox.server import CheckoutRefused
from sandbox.shopify_views import connection, number_of, z

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

View = dict[str, Any]
_ACCOUNT = "StoreCreditAccount"


@dataclass(slots=True)
class Transaction:
    """One change of an account. `kind` as in GraphQL, without what they all begin with: Credit, Debit, Expiration."""

    number: int
    kind: str
    amount_minor: int
    after_minor: int
    event: str
    at: datetime
    expires_at: datetime | None = None
    left_minor: int = 0  # of a credit
    is_told: bool = False
    has_expired: bool = False


@dataclass(slots=True)
class Account:
    """One customer's store credit in one currency."""

    number: int
    customer: str
    currency: str
    balance_minor: int = 0
    transactions: list[Transaction] = field(default_factory=list)

    def live_credits(self) -> Iterator[Transaction]:
        """What can be spent, what ends first first."""
        found = [one for one in self.transactions if one.kind == "Credit" and not one.has_expired]
        never = datetime.max.replace(tzinfo=UTC)
        return iter(sorted(found, key=lambda one: one.expires_at or never))


class CreditDesk:
    """Store credit of one shop's customers, and the root fields that concern it.

    `is_on`: the merchant's switch; credit can be given all the same, only not spent. `most_minor`: what an account holds less than.
    """

    def __init__(self, shop: ShopifySandbox) -> None:
        self._shop = shop
        self.accounts: dict[tuple[str, str], Account] = {}
        self._numbers = count(1_600_000_001)
        self.is_on = True
        self.most_minor = 1_500_000

    def fields(self) -> View:
        """The root fields."""
        return {
            "storeCreditConfiguration": lambda info: {"storeCreditEnabled": self.is_on},
            "storeCreditAccount": lambda info, id: self._account_by_gid(id),
            "storeCreditAccountCredit": self._credit,
            "storeCreditAccountDebit": self._debit,
        }

    def node(self, number: int) -> View | None:
        """The credit with this number."""
        for account in self.accounts.values():
            for one in self._settled(account).transactions:
                if (one.number, one.kind) == (number, "Credit"):
                    return self._transaction_view(account, one)
        return None

    def accounts_of(self, customer: str) -> list[View]:
        """The customer's accounts as GraphQL objects."""
        return [self._account_view(account) for account in self._of(customer)]

    def given(self, customer: str) -> list[int]:
        """What the customer was credited, in the order in which it came, in minor units."""
        every = [one for account in self._of(customer) for one in account.transactions]
        return [one.amount_minor for one in every if one.kind == "Credit"]

    def spend(self, customer: str, minor: int) -> None:
        """The customer pays with store credit. Raises CheckoutRefused."""
        account = self.accounts.get((customer, self._shop.views.currency))
        if not self.is_on or account is None or self._settled(account).balance_minor < minor:
            raise CheckoutRefused("used_up")
        self._take(account, minor, "ORDER_PAYMENT")

    def _of(self, customer: str) -> list[Account]:
        return [account for (owner, _), account in self.accounts.items() if owner == customer]

    def _credit(self, info: Any, id: str, creditInput: View) -> View:
        amount, currency = creditInput["creditAmount"], creditInput["creditAmount"]["currencyCode"]
        minor, ends = self._shop.views.minor(amount), creditInput.get("expiresAt")
        expires_at = datetime.fromisoformat(ends) if ends else None
        account, error = self._owners_account(id, currency)
        problem = error or self._against(minor, expires_at, account)
        if account is None or problem:
            return {"storeCreditAccountTransaction": None, "userErrors": [problem]}
        account.balance_minor += minor
        made = Transaction(
            next(self._numbers),
            "Credit",
            minor,
            account.balance_minor,
            "ADJUSTMENT",
            self._now(),
            expires_at,
            left_minor=minor,
            is_told=bool(creditInput.get("notify")),
        )
        account.transactions.append(made)
        return {"storeCreditAccountTransaction": self._transaction_view(account, made), "userErrors": []}

    def _debit(self, info: Any, id: str, debitInput: View) -> View:
        amount = debitInput["debitAmount"]
        account, error = self._owners_account(id, amount["currencyCode"])
        minor = self._shop.views.minor(amount)
        if error is None and minor <= 0:
            error = _error(["debitInput"], "A positive amount must be used", "NEGATIVE_OR_ZERO_AMOUNT")
        if error is None and account is not None and account.balance_minor < minor:
            error = _error(["debitInput"], "Insufficient funds", "INSUFFICIENT_FUNDS")
        if account is None or error:
            return {"storeCreditAccountTransaction": None, "userErrors": [error]}
        made = self._take(account, minor, "ADJUSTMENT")
        return {"storeCreditAccountTransaction": self._transaction_view(account, made), "userErrors": []}

    def _take(self, account: Account, minor: int, event: str) -> Transaction:
        """What ends first is spent first."""
        account.balance_minor -= minor
        left = minor
        for credit in account.live_credits():
            part = min(left, credit.left_minor)
            credit.left_minor -= part
            left -= part
        made = Transaction(next(self._numbers), "Debit", minor, account.balance_minor, event, self._now())
        account.transactions.append(made)
        return made

    def _owners_account(self, gid: str, currency: str) -> tuple[Account | None, View | None]:
        """The account of that id, or of that customer, made where there is none; or what is wrong."""
        if f"/{_ACCOUNT}/" in gid:
            found = next((one for one in self.accounts.values() if str(one.number) == number_of(gid)), None)
            if found is None:
                return None, _error(
                    ["id"], "The store credit account could not be found.", "ACCOUNT_NOT_FOUND"
                )
            if found.currency != currency:
                return None, _error(["creditInput"], "The currency does not match.", "MISMATCHING_CURRENCY")
            return self._settled(found), None
        customer = number_of(gid)
        if customer not in self._shop.customers:
            return None, _error(["id"], "Owner does not exist.", "OWNER_NOT_FOUND")
        key = customer, currency
        if key not in self.accounts:
            self.accounts[key] = Account(next(self._numbers), customer, currency)
        return self._settled(self.accounts[key]), None

    def _settled(self, account: Account) -> Account:
        """The account after what has ended by now."""
        for credit in account.live_credits():
            if credit.expires_at is not None and credit.expires_at <= self._now():
                credit.has_expired = True
                account.balance_minor -= credit.left_minor
                gone = Transaction(
                    next(self._numbers),
                    "Expiration",
                    credit.left_minor,
                    account.balance_minor,
                    "ADJUSTMENT",
                    credit.expires_at,
                )
                account.transactions.append(gone)
        return account

    def _account_by_gid(self, gid: str) -> View | None:
        found = next((one for one in self.accounts.values() if str(one.number) == number_of(gid)), None)
        return self._account_view(found) if found else None

    def _account_view(self, account: Account) -> View:
        self._settled(account)

        def transactions(
            info: Any, first: int = 50, after: str | None = None, reverse: bool = False, **_: Any
        ) -> View:
            ordered = sorted(account.transactions, key=lambda one: (one.at, one.number), reverse=reverse)
            return connection(
                ordered, view=lambda one: self._transaction_view(account, one), first=first, after=after
            )

        return {
            "__typename": _ACCOUNT,
            "id": f"gid://shopify/{_ACCOUNT}/{account.number}",
            "balance": self._money(account, account.balance_minor),
            "transactions": transactions,
        }

    def _transaction_view(self, account: Account, one: Transaction) -> View:
        kind = f"StoreCreditAccount{one.kind}Transaction"
        return {
            "__typename": kind,
            "id": f"gid://shopify/{kind}/{one.number}",
            "account": lambda info: self._account_view(account),
            "amount": self._money(account, one.amount_minor),
            "balanceAfterTransaction": self._money(account, one.after_minor),
            "createdAt": z(one.at),
            "event": one.event,
            "expiresAt": z(one.expires_at) if one.expires_at else None,
            "remainingAmount": self._money(account, one.left_minor),
        }

    def _against(self, minor: int, expires_at: datetime | None, account: Account | None) -> View | None:
        if minor <= 0:
            return _error(["creditInput"], "A positive amount must be used", "NEGATIVE_OR_ZERO_AMOUNT")
        if expires_at is not None and expires_at <= self._now():
            return _error(
                ["creditInput", "expiresAt"], "The expiry date must be in the future", "EXPIRES_AT_IN_PAST"
            )
        if account is not None and account.balance_minor + minor >= self.most_minor:
            message = "The operation would cause the account's credit limit to be exceeded"
            return _error(["creditInput", "creditAmount"], message, "CREDIT_LIMIT_EXCEEDED")
        return None

    def _money(self, account: Account, minor: int) -> View:
        return self._shop.views.money(minor) | {"currencyCode": account.currency}

    def _now(self) -> datetime:
        return self._shop.clock().replace(microsecond=0)


def _error(path: list[str], message: str, code: str) -> View:
    return {"field": path, "message": message, "code": code}
