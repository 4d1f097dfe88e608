"""Metafields of the stand-in Shopify's customers: Shopify's own, the merchant's, and those of the app.

What is written without a namespace is the app's own; definitions say the type (facts.birth_date, and what shopify.app.toml
declares), elsewhere it has to be named. Whether a write of a metafield alone is told by customers/update is nowhere
written down; here it is, since that is harder to live with.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from sandbox.world import Person

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

View = dict[str, Any]
APP_NAMESPACE = "app--5"
_MOST = 25
_MOST_TO_COUNT = 2**53 - 1
_DEFINED = {"facts.birth_date": "date", f"{APP_NAMESPACE}.points": "number_integer"}


def full_name(namespace: str | None, key: str) -> str:
    """NAMESPACE.KEY, the app's own namespace as Shopify writes it out."""
    return f"{APP_NAMESPACE if namespace in (None, '$app') else namespace}.{key}"


def type_of(name: str) -> str:
    """The type of a metafield; a merchant's own are dates here."""
    return _DEFINED.get(name, "date")


def set_metafields(shop: ShopifySandbox, metafields: list[View]) -> View:
    """Writes into customers; one that is wrong stops all of them."""
    if len(metafields) > _MOST:
        raise GraphQLError(
            f"The input array size of {len(metafields)} is greater than the maximum allowed of {_MOST}.",
            extensions={"code": "MAX_INPUT_SIZE_EXCEEDED"},
        )
    errors = [
        {"field": ["metafields", str(place), where], "message": message, "code": code, "elementIndex": None}
        for place, asked in enumerate(metafields)
        for where, code, message in _problems(shop, asked)
    ]
    if errors:
        return {"metafields": None, "userErrors": errors}
    for asked in metafields:
        number = _owner(asked)
        shop.views.metafields[number, full_name(asked.get("namespace"), asked["key"])] = asked["value"]
        shop.views.touched[number] = shop.clock().replace(microsecond=0)
        shop.till.version += 1
    for number in dict.fromkeys(map(_owner, metafields)):
        told = partial(_told, shop, shop.customers[number])
        shop.hook_desk.emit("customers/update", told)
    return {"metafields": [], "userErrors": []}


def enable_standard(shop: ShopifySandbox, namespace: str | None, key: str | None, pin: bool | None) -> View:
    """Switches one of Shopify's own definitions on; only so are its values on the customer's page."""
    name = f"{namespace}.{key}"
    if name in shop.views.definitions:
        problem = ("TAKEN", "A standard definition has already been enabled for this namespace and key.")
    elif name != "facts.birth_date":
        problem = ("TEMPLATE_NOT_FOUND", "A standard definition wasn't found.")
    elif pin and not shop.views.may_pin:
        problem = ("UNSUPPORTED_PINNING", "The limit of 20 pinned definitions has been reached.")
    else:
        shop.views.definitions[name] = bool(pin)
        return {"userErrors": []}
    return {"userErrors": [{"field": None, "code": problem[0], "message": problem[1]}]}


def _told(shop: ShopifySandbox, person: Person, with_birthday: bool) -> View:
    return shop.bodies.customer_body(person, with_birthday=with_birthday)


def _owner(asked: View) -> str:
    return str(asked["ownerId"].rpartition("/")[2])


def _problems(shop: ShopifySandbox, asked: View) -> list[tuple[str, str, str]]:
    if _owner(asked) not in shop.customers:
        return [("ownerId", "BLANK", "Owner does not exist.")]
    defined = _DEFINED.get(full_name(asked.get("namespace"), asked["key"]), asked.get("type"))
    if asked.get("type") not in (None, defined):
        return [("type", "INVALID_TYPE", f"Type must be consistent with the definition's type: '{defined}'.")]
    if defined == "number_integer" and not _is_integer(asked["value"]):
        return [("value", "INVALID_VALUE", "Value must be an integer.")]
    if defined in (None, "date") and not _is_date(asked["value"]):
        return [("value", "INVALID_VALUE", 'Value must be in "YYYY-MM-DD" format.')]
    return []


def _is_integer(text: str) -> bool:
    try:
        return abs(int(text)) <= _MOST_TO_COUNT
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
