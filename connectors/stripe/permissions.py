"""What a key may do, found out one permission at a time without making or changing anything.

A read is tried with a list of one object. A write is tried as an update, without a single parameter, of an object that
does not exist: Stripe looks at the key first and answers 403, or looks for the object and answers 404. Were it ever to
look for the object first, a missing write would be noticed only when it is used, never the other way round.

Names as in docs.stripe.com/stripe-apps/reference/permissions and in Stripe's own refusals ("rak_customer_read").
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from connectors.stripe.billing import EXPAND_INVOICE
from connectors.stripe.client import Client, Operation
from connectors.stripe.errors import MISSING_PERMISSION
from connectors.stripe.mapping import Deleted
from rewards.errors import RefusedError

_NOBODY = "perennial_probe"  # the id of an object that does not exist

_anything = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Permission:
    """One switch of a restricted key. `lost`: what does not work without it."""

    name: str
    label: str  # as the Dashboard's form calls it
    lost: str
    is_needed: bool = False  # without it nothing can be installed
    path: str = ""  # a list that needs it
    expand: Sequence[str] = ()  # and what is expanded in it
    update: Operation | None = None  # or an update that needs it


ACCOUNT = Permission(
    "account_read",
    "Accounts: Read",
    "the account's name, time zone and currency cannot be read",
    is_needed=True,
)
# In the order of the Dashboard's form; what is read here is what `history.py` reads and what events hold.
PERMISSIONS = (
    Permission("charge_read", "Charges and Refunds: Read", "purchases and refunds earn nothing", True, "/v1/charges"),
    Permission("customer_read", "Customers: Read", "nobody can be a member", True, "/v1/customers"),
    Permission(
        "customer_write",
        "Customers: Write",
        "birthdays are not written back to Stripe",
        update=lambda sdk: sdk.v1.customers.update_async("cus_" + _NOBODY, {}),
    ),
    Permission("event_read", "Events: Read", "changes and lost webhooks are not found again", True, "/v1/events"),
    Permission(
        "checkout_session_read",
        "Checkout Sessions: Read",
        "used codes and guests' e-mail addresses stay unknown",
        True,
        "/v1/checkout/sessions",
    ),
    Permission("coupon_read", "Coupons: Read", "existing coupons stay unknown", True, "/v1/coupons"),
    Permission(
        "coupon_write",
        "Coupons: Write",
        "rewards cannot be put into the store",
        update=lambda sdk: sdk.v1.coupons.update_async(_NOBODY, {}),
    ),
    Permission(
        "promotion_code_read", "Promotion Codes: Read", "existing codes stay unknown", True, "/v1/promotion_codes"
    ),
    Permission(
        "promotion_code_write",
        "Promotion Codes: Write",
        "members get no codes",
        update=lambda sdk: sdk.v1.promotion_codes.update_async("promo_" + _NOBODY, {}),
    ),
    Permission(
        "invoice_read",
        "Invoices: Read",
        "codes used on invoices and subscriptions stay unknown",
        path="/v1/invoices",
        expand=EXPAND_INVOICE,
    ),
    Permission("dispute_read", "Disputes: Read", "disputed payments keep their points", path="/v1/disputes"),
)  # fmt: skip
WEBHOOK_ENDPOINTS = Permission(
    "webhook_write",
    "Webhook Endpoints: Write",
    "the webhook endpoint must be added by hand; until then changes are read on a schedule",
    update=lambda sdk: sdk.v1.webhook_endpoints.update_async("we_" + _NOBODY, {}),
)


async def missing(client: Client, asked: Sequence[Permission]) -> list[Permission]:
    """Those that the key lacks, in order; nothing is made or changed. Raises PlatformError for any other trouble."""
    answers = await asyncio.gather(*(_has(client, each) for each in asked), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [each for each, has_it in zip(asked, answers, strict=True) if has_it is False]


def notice(permission: Permission) -> str:
    """What the merchant is told of a permission that the key lacks."""
    return f"The Stripe key lacks the permission {permission.label} ({permission.name}): {permission.lost}."


async def _has(client: Client, permission: Permission) -> bool:
    try:
        if permission.update is None:
            expand = {f"expand[{i}]": f"data.{name}" for i, name in enumerate(permission.expand)}
            await client.page(permission.path, {"limit": "1", **expand}, _anything)
        else:
            await client.call("POST " + permission.name, permission.update, Deleted)
    except RefusedError as refusal:
        # Whatever else it was refused for, it had come past the look at the key.
        return refusal.code != MISSING_PERMISSION
    return True
