"""Our GraphQL documents: one file each under operations/, read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

API_VERSION = "2026-10"


@cache
def document(name: str) -> str:
    """The text of operations/NAME.graphql."""
    return files("connectors.shopify").joinpath("operations", f"{name}.graphql").read_text(encoding="utf-8")


@cache
def is_mutation(name: str) -> bool:
    """True where running the document twice could do something twice."""
    return "\nmutation " in "\n" + document(name)


def bulk_document(name: str, search: str) -> str:
    """A bulk query's text with its search filled in: bulk queries take no variables."""
    return document(name).replace('query: ""', f'query: "{search}"', 1)
