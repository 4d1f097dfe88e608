"""What the shop lets the app do, and what does not work without it.

Scopes are compared with the official library, in which writing implies reading. Protected customer data is asked for
besides scopes; Shopify shows nowhere whether it was granted, so a look at a few customers tells.
Sources: shopify.dev/docs/api/usage/access-scopes; shopify.dev/docs/apps/launch/protected-customer-data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from shopify.api_access import ApiAccess, ApiAccessError

from connectors.shopify.client import ShopifyClient
from connectors.shopify.documents import API_VERSION
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
# What works without, but less: Shopify grants these on request.
USEFUL: Mapping[str, str] = {"read_all_orders": "only the orders of the last 60 days can be read"}

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


async def notices(client: ShopifyClient, granted: Iterable[str]) -> tuple[str, ...]:
    """What the merchant should know: missing permissions, hidden people, a version that is no more."""
    held = list(granted)
    found = [_lacks(scope, NEEDED[scope]) for scope in missing(held, NEEDED)]
    found += [_lacks(scope, USEFUL[scope]) for scope in missing(held, USEFUL)]
    if not missing(held, ["read_customers"]) and await hides_people(client):
        found.append(HIDDEN_PEOPLE)
    if client.answered_version != API_VERSION:
        found.append(
            f"Shopify no longer offers version {API_VERSION} of its interface and answers in {client.answered_version}: "
            "update Perennial."
        )
    return tuple(found)


async def hides_people(client: ShopifyClient) -> bool:
    """Whether names and e-mail addresses are withheld: refused, or empty for everybody looked at."""
    try:
        people = (await client.call("people_probe", {"first": _LOOKED_AT}, _PeopleData)).customers.nodes
    except RefusedError as error:
        if error.code == "ACCESS_DENIED":
            return True
        raise
    return bool(people) and not any(_shows(person) for person in people)


def _shows(person: _Person) -> bool:
    email = person.default_email_address
    return bool(person.first_name or person.last_name or (email and email.email_address))


def _lacks(scope: str, consequence: str) -> str:
    return f"The app lacks the permission {scope}: {consequence}."


def _is_known(scope: str) -> bool:
    """The library raises for names that it does not know; Shopify has some, and they are none of ours."""
    try:
        ApiAccess([scope])
    except ApiAccessError:
        return False
    return True
