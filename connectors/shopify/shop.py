"""A shop's domain, the name by which Shopify and we know it."""

from __future__ import annotations

from shopify.utils.shop_url import sanitize_shop_domain


def shop_domain(text: str) -> str | None:
    """NAME.myshopify.com of what was given ("name", a domain, an address), or None when it is no shop."""
    try:
        found: str | None = sanitize_shop_domain(text)
    except ValueError:  # urllib's view of brackets and the like
        return None
    return found
