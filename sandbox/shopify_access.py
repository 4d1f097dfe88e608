"""Which permission each root field of the stand-in's GraphQL needs, and how Shopify refuses a request without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphql import FieldNode

from sandbox.shopify_graphql import checked, operation_of

# Root fields that begin so, the longest beginning first; what is not named here needs no permission.
_NEEDS = {
    "customer": "read_customers",
    "metafieldsSet": "write_customers",
    "order": "read_orders",
    "discountNode": "read_discounts",
    "codeDiscountNode": "read_discounts",
    "discount": "write_discounts",
    "giftCard": "write_gift_cards",
    "storeCreditAccountCredit": "write_store_credit_account_transactions",
}


def may(scopes: Sequence[str], scope: str) -> bool:
    """Whether a permission is granted; writing implies reading."""
    return scope in scopes or scope.replace("read_", "write_", 1) in scopes


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
        if scope is not None and not may(scopes, scope):
            needed = f"`{scope}` access scope."
            details = {"code": "ACCESS_DENIED", "requiredAccess": needed}
            message = f"Access denied for {name} field. Required access: {needed}"
            errors.append({"message": message, "extensions": details, "path": [name]})
    return {"data": data, "errors": errors} if errors else None
