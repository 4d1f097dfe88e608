"""Shopify's customers to records, from GraphQL lines and from webhook bodies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec

from connectors.shopify.mapping import EmailAddress, Moment, external_id, utc, utc_or_none
from rewards.errors import InvalidInputError
from rewards.occasions import birthday
from rewards.records import Birthday, Customer

BIRTHDAY_NAMESPACE, BIRTHDAY_KEY = "facts", "birth_date"


class _Metafield(msgspec.Struct, gc=False):
    value: str
    namespace: str = ""
    key: str = ""


class CustomerLine(msgspec.Struct, rename="camel", gc=False):
    """A customer as GraphQL gives it (operations/bulk_customers.graphql)."""

    id: str
    created_at: Moment
    updated_at: Moment
    first_name: str | None = None
    last_name: str | None = None
    default_email_address: EmailAddress | None = None
    locale: str | None = None
    birth_date: _Metafield | None = None


class _Consent(msgspec.Struct):
    state: str | None = None


class CustomerBody(msgspec.Struct):
    """A customer as a webhook brings it; personal fields are absent without level 2 approval."""

    id: int
    created_at: Moment | None = None
    updated_at: Moment | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email_marketing_consent: _Consent | None = None
    metafields: list[_Metafield] = []


def customer_from_line(line: CustomerLine) -> Customer:
    """The record of a GraphQL customer."""
    address = line.default_email_address
    return Customer(
        external_id=external_id(line.id),
        email=address.email_address or None if address else None,
        name=_name(line.first_name, line.last_name),
        # Shopify's new customer accounts let every customer sign in: a customer record is an account.
        has_account=True,
        joined_at=utc(line.created_at),
        birthday=_birthday(line.birth_date.value) if line.birth_date else None,
        locale=line.locale,
        accepts_marketing=_accepts(address.marketing_state) if address else None,
        source_updated_at=utc(line.updated_at),
    )


def customer_from_body(body: CustomerBody) -> Customer:
    """The record of a webhook's customer; what the body does not hold (locale) is None: it says nothing."""
    consent = body.email_marketing_consent
    return Customer(
        external_id=str(body.id),
        email=body.email or None,
        name=_name(body.first_name, body.last_name),
        has_account=True,
        joined_at=utc_or_none(body.created_at),
        birthday=_birthday_among(body.metafields),
        accepts_marketing=_accepts(consent.state) if consent else None,
        source_updated_at=utc_or_none(body.updated_at),
    )


def _accepts(state: str | None) -> bool | None:
    return None if state is None else state.upper() == "SUBSCRIBED"


def _name(first: str | None, last: str | None) -> str | None:
    return f"{first or ''} {last or ''}".strip() or None


def _birthday_among(metafields: Sequence[_Metafield]) -> Birthday | None:
    for field in metafields:
        if (field.namespace, field.key) == (BIRTHDAY_NAMESPACE, BIRTHDAY_KEY):
            return _birthday(field.value)
    return None


def _birthday(text: str) -> Birthday | None:
    """A `date` metafield always has a year, often made up; one in which nobody living was born is left out."""
    try:
        day = date.fromisoformat(text)
    except ValueError:  # a merchant may have given the metafield another type
        return None
    try:
        return birthday(day.month, day.day, day.year)
    except InvalidInputError:
        return birthday(day.month, day.day)
