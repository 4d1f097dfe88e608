"""What is asked for again because an event or a list does not hold it: an invoice's codes, a birthday typed at Checkout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.stripe import birthdays, mapping
from connectors.stripe.billing import EXPAND_INVOICE, INVOICE, Invoice, order_of_invoice
from connectors.stripe.client import Client
from connectors.stripe.errors import unreadable
from connectors.stripe.mapping import CustomerObject, PromotionCode, Session
from rewards.changes import Change, Ignored, LookAgain
from rewards.errors import RefusedError

SESSION, CODE = "checkout.session", "promotion_code"  # what is looked at again


class _Typed(msgspec.Struct, gc=False):
    value: str | None = None


class _Field(msgspec.Struct, gc=False):
    key: str
    text: _Typed | None = None
    numeric: _Typed | None = None
    dropdown: _Typed | None = None

    @property
    def value(self) -> str | None:
        """What was typed or chosen."""
        given = self.text or self.numeric or self.dropdown
        return given.value if given else None


class FilledSession(Session, gc=False):
    """A session with what was typed into its custom fields; read only where a store asks for birthdays there."""

    custom_fields: list[_Field] | None = None


class _SessionOfCustomer(msgspec.Struct, gc=False):
    """A session with its Customer expanded; of a deleted one only the id is left."""

    id: str
    customer: dict[str, Any] | None = None
    custom_fields: list[_Field] | None = None


class Looks:
    """Reads single objects again."""

    def __init__(self, client: Client, settings: Mapping[str, str]) -> None:
        self._client = client
        self._settings = settings

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What there is to say of it; nothing when it is gone. Raises PlatformError."""
        if thing.kind == INVOICE:
            return await self._invoice(thing.external_id)
        if thing.kind == SESSION:
            return await self._session(thing.external_id)
        if thing.kind == CODE:
            return await self._code(thing.external_id)
        raise RefusedError(f"Nothing is known of {thing.kind} on Stripe.", code="unknown_kind")

    async def _invoice(self, external_id: str) -> Sequence[Change]:
        found = await self._client.find(
            "GET /v1/invoices/id",
            lambda sdk: sdk.v1.invoices.retrieve_async(external_id, {"expand": EXPAND_INVOICE}),
            Invoice,
        )
        return [order_of_invoice(found)] if found else []

    async def _code(self, external_id: str) -> Sequence[Change]:
        found = await self._client.find(
            "GET /v1/promotion_codes/id",
            lambda sdk: sdk.v1.promotion_codes.retrieve_async(external_id, {"expand": ["promotion.coupon"]}),
            PromotionCode,
        )
        return [mapping.code_saved(found)] if found else []

    async def _session(self, external_id: str) -> Sequence[Change]:
        found = await self._client.find(
            "GET /v1/checkout/sessions/id",
            lambda sdk: sdk.v1.checkout.sessions.retrieve_async(external_id, {"expand": ["customer"]}),
            _SessionOfCustomer,
        )
        if found is None or found.customer is None or found.customer.get("deleted"):
            return []
        try:
            customer = msgspec.convert(found.customer, CustomerObject)
        except msgspec.ValidationError:
            raise unreadable() from None
        typed = typed_birthday(found.custom_fields, self._settings)
        return [mapping.customer_saved(customer, self._settings, typed)]


def birthday_in(session: FilledSession, settings: Mapping[str, str]) -> LookAgain | Ignored:
    """What a completed session asks for where birthdays are typed at Checkout: the Customer whose birthday it is."""
    if session.status != "complete" or session.customer is None:
        return Ignored("a Checkout session without a customer")
    text = typed_birthday(session.custom_fields, settings)
    if birthdays.read(text, settings) is None:
        return Ignored("a Checkout session without a birthday")
    return LookAgain(SESSION, session.id)


def typed_birthday(fields: Sequence[_Field] | None, settings: Mapping[str, str]) -> str | None:
    """What was typed into the birthday's field."""
    wanted = settings.get(birthdays.FIELD)
    return next((field.value for field in fields or () if wanted and field.key == wanted), None)
