"""What browsers may do with our pages, and where these may send them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from connectors.web import WebPage
from sync.services import Services


def headers_of(page: WebPage, services: Services) -> dict[str, str]:
    """The security headers of a page: nothing that the page does not name."""
    # A form's answer may send the browser on to the shop, which browsers count as where the form goes.
    abroad = "https: http:" if services.allow_private_hosts else "https:"
    scripts = " ".join(_addresses(page.scripts))
    frames = " ".join(_addresses(page.frame_ancestors))
    origins = sorted({_origin(address) for address in (*scripts.split(), *frames.split())})
    policy = {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": scripts or "'none'",
        "connect-src": " ".join(["'self'", *origins]) if scripts else "'none'",
        "form-action": f"'self' {abroad}",
        "base-uri": "'none'",
        "frame-ancestors": frames or "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cache-Control": "no-store",
        # With "no-referrer" browsers would hide from our forms' requests that they come from us.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def is_allowed(url: str, services: Services) -> bool:
    """True for an https address and for one of our own; http only where stores may be on the own network."""
    if any(sign <= " " or sign in '\\"' for sign in url):
        return False
    if url.startswith("/"):
        return not url.startswith("//")
    if services.public_url is not None and url.startswith(f"{services.public_url}/"):
        return True
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    schemes = ("https", "http") if services.allow_private_hosts else ("https",)
    return parts.scheme in schemes and bool(parts.hostname) and parts.username is None


def _addresses(given: Iterable[str]) -> list[str]:
    """Those that can stand in a policy without changing it."""
    return [text for text in given if text.startswith("https://") and not set(text) & set(" ;,'\"")]


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
