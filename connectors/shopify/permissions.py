"""What the shop lets the app do, and what does not work without it.

Scopes are compared with the official library, in which writing implies reading. Protected customer data is asked for
besides scopes; Shopify shows nowhere whether it was granted, so a look at a few customers tells.
Sources: shopify.dev/docs/api/usage/access-scopes; shopify.dev/docs/apps/launch/protected-customer-data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

import msgspec
from shopify.api_access import ApiAccess, ApiAccessError

from connectors.shopify.client import ShopifyClient
from connectors.shopify.documents import API_VERSION, document
from rewards.errors import RefusedError

# Each permission that we need, and what does not work without it.
NEEDED: Mapping[str, str] = {
    "read_customers": "customers, their joining dates and their birthdays are not read",
    "write_customers": "birthdays and points are not written into the customers' records",
    "read_customer_merge": "customers that are merged in the admin stay two members here",
    "read_orders": "orders earn nothing, and used codes are not noticed",
    "read_discounts": "discounts are not read and codes not verified",
    "write_discounts": "no codes can be made",
    "read_products": "free products, and codes for chosen products or collections, cannot be made or verified",
}
# Settings of a store: how much of its orders and people can be read.
ORDERS_SEEN, PEOPLE_SEEN = "orders_seen", "people_seen"
# What works without, but less: Shopify grants these on request.
USEFUL: Mapping[str, str] = {"read_all_orders": "only the orders of the last 60 days can be read"}


class Shown(IntEnum):
    """How much of what names people Shopify shows to an app, from everything to nothing."""

    EVERYTHING = 0
    NO_PHONES = 1
    NOBODY = 2

    def variables(self, name: str) -> dict[str, bool]:
        """What asks a document of ours for no more than this."""
        asked = {"people": self < Shown.NOBODY}
        return asked | ({"phone": self < Shown.NO_PHONES} if "$phone" in document(name) else {})


HIDDEN_PHONES = (
    "Shopify does not show this app customers' phone numbers: members are not found by them. The field phone of protected "
    "customer data, level 2, can be asked for where the app is set up."
)
HIDDEN_PEOPLE = (
    "Shopify does not show this app customers' names and e-mail addresses: customers are followed by their number, and "
    "guests are not recognised. The app needs protected customer data, level 2; ask for it where the app is set up."
)
_LOOKED_AT = 10


class _Email(msgspec.Struct, rename="camel"):
    email_address: str | None = None


class _Person(msgspec.Struct, rename="camel"):
    first_name: str | None = None
    last_name: str | None = None
    default_email_address: _Email | None = None


class _People(msgspec.Struct):
    nodes: list[_Person]


class _PeopleData(msgspec.Struct):
    customers: _People


def missing(granted: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of the wanted scopes that what was granted does not cover."""
    held = ApiAccess([scope for scope in granted if _is_known(scope)])
    return tuple(scope for scope in wanted if not held.covers(ApiAccess([scope])))


def seen(granted: Iterable[str], shown: Shown) -> dict[str, str]:
    """What of the shop can be read, as its settings keep it: a change of it has all of the shop read anew."""
    return {ORDERS_SEEN: "recent" if missing(granted, USEFUL) else "all", PEOPLE_SEEN: shown.name.lower()}


async def notices(
    client: ShopifyClient, granted: Iterable[str], shown: Shown, page: str | None
) -> tuple[str, ...]:
    """What the merchant should know: missing permissions, hidden people, a version that is no more.

    `page`: where a merchant grants permissions that the app can do without.
    """
    held = list(granted)
    found = [_lacks(scope, NEEDED[scope]) for scope in missing(held, NEEDED)]
    found += [_lacks(scope, USEFUL[scope]) + _granted_at(page, scope) for scope in missing(held, USEFUL)]
    found += {Shown.NO_PHONES: [HIDDEN_PHONES], Shown.NOBODY: [HIDDEN_PEOPLE]}.get(shown, [])
    if client.answered_version != API_VERSION:
        found.append(
            f"Shopify no longer offers version {API_VERSION} of its interface and answers in {client.answered_version}: "
            "update Perennial."
        )
    return tuple(found)


async def what_is_shown(client: ShopifyClient, granted: Iterable[str]) -> Shown:
    """What Shopify shows of people: it refuses the rest, or leaves it empty for everybody looked at."""
    if missing(granted, ["read_customers"]):
        return Shown.EVERYTHING  # as far as anybody can see: what is missing is told as such
    for phone in (True, False):
        asked = {"first": _LOOKED_AT, "phone": phone}
        try:
            people = (await client.call("people_probe", asked, _PeopleData)).customers.nodes
        except RefusedError as error:
            if error.code != "ACCESS_DENIED":
                raise
            continue
        if people and not any(_shows(person) for person in people):
            return Shown.NOBODY
        return Shown.EVERYTHING if phone else Shown.NO_PHONES
    return Shown.NOBODY


def _shows(person: _Person) -> bool:
    email = person.default_email_address
    return bool(person.first_name or person.last_name or (email and email.email_address))


def _lacks(scope: str, consequence: str) -> str:
    return f"The app lacks the permission {scope}: {consequence}."


def _granted_at(page: str | None, scope: str) -> str:
    return f" Grant it at {page}&optional_scopes={scope} ." if page else ""


def _is_known(scope: str) -> bool:
    """The library raises for names that it does not know; Shopify has some, and they are none of ours."""
    try:
        ApiAccess([scope])
    except ApiAccessError:
        return False
    return True
