"""What the stand-in's GraphQL shows to an app: what each root field needs, and which fields are people's.

Sources: shopify.dev/docs/api/usage/access-scopes; shopify.dev/docs/apps/launch/protected-customer-data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from graphql import FieldNode

from sandbox.shopify_graphql import checked, operation_of

# Root fields that begin so, the longest beginning first; what is not named here needs no permission.
_NEEDS = {
    "customer": "read_customers",
    "metafieldsSet": "write_customers",
    "standardMetafieldDefinitionEnable": "write_customers",
    "order": "read_orders",
    "discountNode": "read_discounts",
    "codeDiscountNode": "read_discounts",
    "discount": "write_discounts",
    "giftCardConfiguration": "read_gift_cards",
    "giftCards": "read_gift_cards",
    "giftCard": "write_gift_cards",
    "storeCreditAccountCredit": "write_store_credit_account_transactions",
    "storeCreditAccountDebit": "write_store_credit_account_transactions",
    "storeCreditAccount": "read_store_credit_accounts",
}


# What is read below other things: goods as what a discount is limited to, accounts as a customer's; or by id.
_BELOW = {
    re.compile(r"\b(products|collections)\(|\.\.\. on Product\b"): "read_products",
    re.compile(r"\.\.\. on GiftCard\b"): "read_gift_cards",
    re.compile(r"\bstoreCreditAccounts\("): "read_store_credit_accounts",
    re.compile(
        r"\btransactions\(|\bnodes\(ids.*\.\.\. on StoreCreditAccountCreditTransaction\b", re.DOTALL
    ): "read_store_credit_account_transactions",
}


def may(scopes: Sequence[str], scope: str) -> bool:
    """Whether a permission is granted; writing implies reading."""
    return scope in scopes or scope.replace("read_", "write_", 1) in scopes


def root_fields(query: str) -> list[str]:
    """The names of the fields that a valid document asks for at the root."""
    document, _ = checked(query)
    if document is None:
        return []
    selected = operation_of(document).selection_set.selections
    return [node.name.value for node in selected if isinstance(node, FieldNode)]


def access_denied(query: str, scopes: Sequence[str]) -> dict[str, Any] | None:
    """Shopify's answer to a request that lacks a permission; None when it lacks none, or is no valid GraphQL."""
    document, _ = checked(query)
    if document is None:
        return None
    errors: list[dict[str, Any]] = []
    data: dict[str, None] = {}
    for node in operation_of(document).selection_set.selections:
        assert isinstance(node, FieldNode)
        name = node.name.value
        data[node.alias.value if node.alias else name] = None
        scope = next((s for start, s in _NEEDS.items() if name.startswith(start)), None)
        scope = next((needed for words, needed in _BELOW.items() if words.search(query)), scope)
        if scope is not None and not may(scopes, scope):
            needed = f"`{scope}` access scope."
            details = {"code": "ACCESS_DENIED", "requiredAccess": needed}
            message = f"Access denied for {name} field. Required access: {needed}"
            errors.append({"message": message, "extensions": details, "path": [name]})
    return {"data": data, "errors": errors} if errors else None


PERSONAL = frozenset(
    {"firstName", "lastName", "displayName", "email", "phone", "defaultEmailAddress", "defaultPhoneNumber"}
)
PHONES = frozenset({"phone", "defaultPhoneNumber"})
_OF_PEOPLE = frozenset({"customer", "customers", "order", "orders", "nodes"})


def without_people(body: dict[str, Any], hidden: frozenset[str] = PERSONAL) -> dict[str, Any]:
    """An answer as an app gets it that is not approved for these fields: they are null, with an error each."""
    found: set[str] = set()
    data = body.get("data") or {}
    for name in _OF_PEOPLE & data.keys():
        _blank(data[name], hidden, found)
    if not found:
        return body
    errors = [
        {
            "message": f"This app is not approved to use the {name} field. See "
            "https://shopify.dev/docs/apps/launch/protected-customer-data for more details.",
            "extensions": {"code": "ACCESS_DENIED"},
        }
        for name in sorted(found)
    ]
    return body | {"errors": [*body.get("errors", []), *errors]}


def _blank(value: Any, hidden: frozenset[str], found: set[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _blank(item, hidden, found)
    elif isinstance(value, dict):
        for name in value:
            if name in hidden:
                value[name] = None
                found.add(name)
            else:
                _blank(value[name], hidden, found)


_IN_POSTS = frozenset({"email", "contact_email", "first_name", "last_name", "phone"})


def without_people_in_posts(body: Any, hidden: frozenset[str]) -> Any:
    """The body of a post to such an app: what it may not see is not there."""
    gone = _IN_POSTS if hidden >= PERSONAL else _IN_POSTS & hidden
    if isinstance(body, dict):
        return {
            name: without_people_in_posts(value, hidden) for name, value in body.items() if name not in gone
        }
    return [without_people_in_posts(item, hidden) for item in body] if isinstance(body, list) else body
