"""Shopify's customers to records, from GraphQL lines and from webhook bodies, by the merchant's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import msgspec

from connectors.shopify.mapping import EmailAddress, Moment, external_id, utc, utc_or_none
from rewards.errors import InvalidInputError
from rewards.occasions import birthday, parse_birthday
from rewards.records import Birthday, Customer

# Settings of a store. Where customers' birthdays are: "NAMESPACE.KEY" of a metafield.
BIRTHDAY_FIELD = "birthday_key"
STANDARD_BIRTHDAY = "facts.birth_date"
# Whose record is an account, in a shop with new customer accounts: "every", "consent" or "tag:NAME".
ACCOUNTS = "accounts"
EVERY, CONSENT, TAG = "every", "consent", "tag:"
# What the shop itself says: Shopify's CustomerAccountsVersion.
ACCOUNTS_VERSION = "customer_accounts"
CLASSIC = "CLASSIC"

NO_YEAR = 1604  # a leap year in which nobody living was born: what a `date` has where the year is not known
_FIELD = re.compile(r"[A-Za-z0-9_-]{2,255}\.[A-Za-z0-9_-]{2,64}")


@dataclass(frozen=True, slots=True)
class CustomerRules:
    """How this shop's customers are read: where the birthday is, and whose record counts as an account."""

    namespace: str
    key: str
    accounts: str
    is_classic: bool

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> CustomerRules:
        """The rules of a store's settings; a setting that cannot be meant counts as its default (see `complaints`)."""
        field = settings.get(BIRTHDAY_FIELD, STANDARD_BIRTHDAY)
        namespace, _, key = (field if _FIELD.fullmatch(field) else STANDARD_BIRTHDAY).partition(".")
        accounts = settings.get(ACCOUNTS, EVERY)
        return cls(
            namespace,
            key,
            accounts if _is_account_rule(accounts) else EVERY,
            settings.get(ACCOUNTS_VERSION) == CLASSIC,
        )

    @property
    def is_standard(self) -> bool:
        """True for Shopify's own birth date metafield, whose type is known."""
        return f"{self.namespace}.{self.key}" == STANDARD_BIRTHDAY

    @property
    def needs_tags(self) -> bool:
        """True when a record is told to be an account by a tag, which posts do not hold."""
        return not self.is_classic and self.accounts.startswith(TAG)

    def has_account(self, state: str | None, tags: Sequence[str], accepts_marketing: bool | None) -> bool:
        """Whether the record is an account.

        `state` means something with classic accounts only; with new ones every customer can sign in.
        """
        if self.is_classic:
            return (state or "").upper() == "ENABLED"
        if self.accounts == CONSENT:
            return bool(accepts_marketing)
        if self.accounts.startswith(TAG):
            wanted = self.accounts.removeprefix(TAG).strip().casefold()
            return wanted in (tag.strip().casefold() for tag in tags)
        return True


def complaints(settings: Mapping[str, str]) -> list[str]:
    """What is wrong with the settings, and what to write instead."""
    found = []
    if not _is_account_rule(settings.get(ACCOUNTS, EVERY)):
        found.append(
            f'The setting {ACCOUNTS} must be "{EVERY}", "{CONSENT}" or "{TAG}" and a tag; otherwise every customer '
            "record counts as an account."
        )
    if not _FIELD.fullmatch(settings.get(BIRTHDAY_FIELD, STANDARD_BIRTHDAY)):
        found.append(
            f"The setting {BIRTHDAY_FIELD} must name a metafield as NAMESPACE.KEY; otherwise birthdays are those in "
            f"{STANDARD_BIRTHDAY}."
        )
    return found


def _is_account_rule(text: str) -> bool:
    return text in (EVERY, CONSENT) or (text.startswith(TAG) and bool(text.removeprefix(TAG).strip()))


class _Metafield(msgspec.Struct, gc=False):
    value: str
    namespace: str = ""
    key: str = ""


class _PhoneNumber(msgspec.Struct, rename="camel", gc=False):
    phone_number: str


class CustomerLine(msgspec.Struct, rename="camel", gc=False):
    """A customer as GraphQL gives it (operations/bulk_customers.graphql)."""

    id: str
    created_at: Moment
    updated_at: Moment
    state: str | None = None
    tags: list[str] = []
    first_name: str | None = None
    last_name: str | None = None
    default_email_address: EmailAddress | None = None
    default_phone_number: _PhoneNumber | None = None
    locale: str | None = None
    birth_date: _Metafield | None = None


class _Consent(msgspec.Struct):
    state: str | None = None


class CustomerBody(msgspec.Struct):
    """A customer as a webhook brings it; personal fields are absent without level 2 approval, tags always."""

    id: int
    created_at: Moment | None = None
    updated_at: Moment | None = None
    state: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    email_marketing_consent: _Consent | None = None
    metafields: list[_Metafield] = []


def customer_from_line(line: CustomerLine, rules: CustomerRules) -> Customer:
    """The record of a GraphQL customer."""
    address = line.default_email_address
    accepts = _accepts(address.marketing_state) if address else None
    return Customer(
        external_id=external_id(line.id),
        email=address.email_address or None if address else None,
        name=_name(line.first_name, line.last_name),
        phone=line.default_phone_number.phone_number or None if line.default_phone_number else None,
        has_account=rules.has_account(line.state, line.tags, accepts),
        joined_at=utc(line.created_at),
        birthday=read_birthday(line.birth_date.value) if line.birth_date else None,
        locale=line.locale,
        accepts_marketing=accepts,
        source_updated_at=utc(line.updated_at),
    )


def customer_from_body(body: CustomerBody, rules: CustomerRules) -> Customer:
    """The record of a webhook's customer; what the body does not hold (locale) is None: it says nothing.

    Not for rules that need tags: such a customer is looked at again.
    """
    consent = body.email_marketing_consent
    accepts = _accepts(consent.state) if consent else None
    return Customer(
        external_id=str(body.id),
        email=body.email or None,
        name=_name(body.first_name, body.last_name),
        phone=body.phone or None,
        has_account=rules.has_account(body.state, (), accepts),
        joined_at=utc_or_none(body.created_at),
        birthday=_birthday_among(body.metafields, rules),
        accepts_marketing=accepts,
        source_updated_at=utc_or_none(body.updated_at),
    )


def _accepts(state: str | None) -> bool | None:
    return None if state is None else state.upper() == "SUBSCRIBED"


def _name(first: str | None, last: str | None) -> str | None:
    return f"{first or ''} {last or ''}".strip() or None


def _birthday_among(metafields: Sequence[_Metafield], rules: CustomerRules) -> Birthday | None:
    for field in metafields:
        if (field.namespace, field.key) == (rules.namespace, rules.key):
            return read_birthday(field.value)
    return None


def read_birthday(text: str) -> Birthday | None:
    """A `date` metafield always has a year, often made up; one in which nobody living was born is left out."""
    try:
        return parse_birthday(text)
    except InvalidInputError:
        pass
    try:
        day = date.fromisoformat(text)
    except ValueError:  # a merchant may have given the metafield another type
        return None
    return birthday(day.month, day.day)


def birthday_text(day: Birthday) -> str:
    """What is written into a `date` metafield."""
    return f"{day.year or NO_YEAR:04d}-{day.month:02d}-{day.day:02d}"
