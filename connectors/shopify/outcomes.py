"""What a mutation on a discount says: the discount that it made or changed, or what Shopify has against it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from connectors.shopify.failures import UserError, refusal
from connectors.shopify.mapping import external_id
from rewards.errors import RetryLaterError

_FULL = ("EXCEEDED_MAX", "MAX_APP_DISCOUNTS")
_ADVICE = " If the shop has too many codes, delete discounts that are over in the Shopify admin."


class _Node(msgspec.Struct):
    id: str


class Result(msgspec.Struct, rename="camel"):
    """The payload of a create, update or deactivate mutation."""

    user_errors: list[UserError]
    code_discount_node: _Node | None = None


class Made(msgspec.Struct):
    """Its `data`: our documents call every payload `result`."""

    result: Result


def refused_text(errors: Sequence[UserError]) -> str | None:
    """Shopify's reason in its words, with what to do where we know it; None when there is none."""
    if not errors:
        return None
    advice = _ADVICE if any(error.code in _FULL for error in errors) else ""
    return f"{refusal(errors)}{advice}"


def made_number(result: Result) -> str:
    """The number of the discount that was made or changed. Raises RefusedError and RetryLaterError."""
    if result.user_errors:
        error = refusal(result.user_errors)
        raise type(error)(refused_text(result.user_errors) or "", code=error.code)
    if result.code_discount_node is None:
        raise RetryLaterError("Shopify did not say which discount it has made.")
    return external_id(result.code_discount_node.id)
