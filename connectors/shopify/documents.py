"""Our GraphQL documents: one file each under operations/, read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

API_VERSION = "2026-10"

# Setting up a webhook twice is an error on Shopify, and store credit that is given twice is money; every other document
# of ours may run twice: a second export does no harm, an update writes the same again, and a second discount or gift
# card with the same code is refused as taken.
_NOT_TWICE = frozenset({"webhook_create", "store_credit_credit", "store_credit_debit"})


@cache
def document(name: str) -> str:
    """The text of operations/NAME.graphql."""
    return files("connectors.shopify").joinpath("operations", f"{name}.graphql").read_text(encoding="utf-8")


def may_repeat(name: str) -> bool:
    """True where the document may be sent again when it is unknown whether it has run."""
    return name not in _NOT_TWICE


def bulk_document(name: str, search: str, metafield: tuple[str, str] | None = None) -> str:
    """A bulk query's text with its search filled in, and the metafield to read: bulk queries take no variables."""
    text = document(name).replace('query: ""', f'query: "{search}"', 1)
    if metafield is not None:
        namespace, key = metafield
        text = text.replace(
            'namespace: "facts", key: "birth_date"', f'namespace: "{namespace}", key: "{key}"', 1
        )
    return text
