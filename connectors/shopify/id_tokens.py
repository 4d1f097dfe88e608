"""Who asks: the ID token that Shopify's admin gives a signed-in merchant, and the signature of the admin's own links.

The token is checked by the official library (signature by HS256 alone, audience, `exp`, `nbf`, issuer's host), whose clock is
the machine's: such a token lives a minute. What the library leaves open is checked here: it takes a token without
`exp`, and takes the shop for granted. Source: shopify.dev, "ID tokens"; what the library does: version 12.7.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from shopify import session_token

from connectors.base import Secret
from connectors.shopify.shop import shop_domain

# What JavaScript's encodeURIComponent leaves as it is, beside letters, digits and -_.~
_PLAIN = "!'()*"
_LONGEST = 4_096


class InvalidIdTokenError(Exception):
    """Not a good ID token now: forged, for another app, or too old. Says nothing of it."""


@dataclass(frozen=True, slots=True)
class Merchant:
    """A signed-in merchant's shop, and the token that proves it."""

    shop: str
    id_token: Secret


def merchant_of(id_token: str, client_id: Secret, secrets: Sequence[Secret]) -> Merchant:
    """Whose token this is, signed with any of the app's secrets. Raises InvalidIdTokenError."""
    if not id_token or len(id_token) > _LONGEST:
        raise InvalidIdTokenError
    for secret in secrets:
        claims = _claims(id_token, client_id, secret)
        if claims is not None:
            return Merchant(_shop_in(claims), Secret(id_token))
    raise InvalidIdTokenError


def _claims(id_token: str, client_id: Secret, secret: Secret) -> Mapping[str, object] | None:
    header = f"Bearer {id_token}"
    try:
        found: Mapping[str, object] = session_token.decode_from_header(
            header, client_id.reveal(), secret.reveal()
        )
    except (session_token.SessionTokenError, TypeError, ValueError, AttributeError):
        # Not only its own error: claims of another kind than text make the library stumble.
        return None
    return found


def _shop_in(claims: Mapping[str, object]) -> str:
    """The shop that `dest` names, and nothing else does."""
    issuer, dest = urlsplit(str(claims["iss"])), urlsplit(str(claims["dest"]))
    shop = shop_domain(dest.netloc)
    is_whole = dest.scheme == issuer.scheme == "https" and dest.netloc == issuer.netloc == shop
    if shop is None or not is_whole or not isinstance(claims.get("exp"), int | float):
        raise InvalidIdTokenError
    return shop


def signed_shop(raw_query: str, secrets: Sequence[Secret]) -> str | None:
    """The shop that a link of the admin names, when Shopify signed the link; None otherwise.

    The signature covers the percent-encoded pairs; the official Python library leaves some characters as they are, and
    so disagrees with Shopify. Fit for what may be shown to whom, not for access: such a link can be used again.
    """
    pairs = parse_qsl(raw_query, keep_blank_values=True)
    given = dict(pairs)
    if len(given) < len(pairs) or not {"shop", "hmac"} <= given.keys():
        return None
    text = "&".join(
        f"{quote(name, safe=_PLAIN)}={quote(value, safe=_PLAIN)}"
        for name, value in sorted(pairs)
        if name != "hmac"
    )
    for secret in secrets:
        wanted = hmac.new(secret.reveal().encode(), text.encode(), hashlib.sha256).hexdigest()
        if hmac.compare_digest(wanted.encode(), given["hmac"].encode()):
            return shop_domain(given["shop"])
    return None
