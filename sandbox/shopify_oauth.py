"""How the stand-in Shopify lets an app in: installing, ID tokens, the token endpoint, and what each token may do.

The rules are those of shopify.dev, "ID tokens", "Token exchange" and "Offline access tokens": expiring access tokens live an
hour, refresh tokens 90 days, and every refresh gives a new pair. A refresh token that was used may be used again until
its replacement is (changelog of 28 August 2026), so a lost answer costs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
_OFFLINE = "urn:shopify:params:oauth:token-type:offline-access-token"
_ID_TOKEN_SECONDS = 60
_EXPIRING = timedelta(hours=1)
_CLIENT_CREDENTIALS = timedelta(seconds=86_399)
_REFRESH = timedelta(days=90)


class DeniedError(Exception):
    """The token endpoint says no; `error` is OAuth's word for it."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(slots=True)
class RefreshToken:
    """One link of a chain: `replacement` is the refresh token that was given for it."""

    ends_at: datetime
    replacement: str | None = None
    is_over: bool = False


@dataclass
class OAuthDesk:
    """One app on one shop. `client_secrets` are those that Shopify accepts now, newest first.

    `scopes` is what the merchant has granted; a refused grant and a dead token are answered as Shopify does.
    """

    shop: str
    client_id: str
    client_secrets: list[str]
    scopes: list[str]
    clock: Callable[[], datetime]
    is_installed: bool = True
    granted: int = 0  # how often the endpoint gave a token
    _access: dict[str, datetime | None] = field(default_factory=dict)
    _refresh: dict[str, RefreshToken] = field(default_factory=dict)

    # -- what Shopify's admin does -----------------------------------------------------------------------------------

    def id_token(
        self, *, secret: str | None = None, header: Mapping[str, str] | None = None, **claims: Any
    ) -> str:
        """What App Bridge hands the app: signed with the newest secret unless told otherwise; None leaves a claim out."""
        now = int(self.clock().timestamp())
        content = {
            "iss": f"https://{self.shop}/admin",
            "dest": f"https://{self.shop}",
            "aud": self.client_id,
            "sub": "42",
            "exp": now + _ID_TOKEN_SECONDS,
            "nbf": now,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "sid": secrets.token_hex(16),
            **claims,
        }
        kept = {name: value for name, value in content.items() if value is not None}
        parts = f"{_part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{_part(kept)}"
        key = self.client_secrets[0] if secret is None else secret
        return f"{parts}.{_text(hmac.new(key.encode(), parts.encode(), hashlib.sha256).digest())}"

    def launch(self, *, id_token: str | None = "") -> dict[str, str]:
        """The query with which the admin loads the app into its frame; `id_token` None: without one."""
        query = {
            "embedded": "1",
            "host": _text(f"admin.shopify.com/store/{self.shop.partition('.')[0]}".encode()),
            "locale": "en",
            "session": secrets.token_hex(32),
            "shop": self.shop,
            "timestamp": str(int(self.clock().timestamp())),
        }
        if id_token is not None:
            query["id_token"] = id_token or self.id_token()
        return query | {"hmac": query_hmac(query, self.client_secrets[0])}

    def expire(self) -> None:
        """Every access token ends now; refresh tokens stay."""
        self._access.clear()

    def kill_refresh_tokens(self) -> None:
        """As after 90 days without a refresh."""
        self._refresh.clear()

    def uninstall(self) -> None:
        """Everything dies at once."""
        self.expire()
        self.kill_refresh_tokens()
        self.is_installed = False

    def install(self) -> None:
        """The merchant puts the app in (again)."""
        self.is_installed = True

    @property
    def granted_scopes(self) -> list[str]:
        """The permissions one by one; who may write may read, which Shopify lists too."""
        implied = [scope.replace("write_", "read_", 1) for scope in self.scopes if scope.startswith("write_")]
        return sorted({*self.scopes, *implied})

    # -- what the app asks -------------------------------------------------------------------------------------------

    def opens(self, token: str) -> bool:
        """Whether an access token is good now."""
        if token not in self._access:
            return False
        ends_at = self._access[token]
        return ends_at is None or ends_at > self.clock()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the token endpoint gives. Raises DeniedError."""
        is_ours = any(
            hmac.compare_digest(str(asked.get("client_secret")), known) for known in self.client_secrets
        )
        if asked.get("client_id") != self.client_id or not is_ours or not self.is_installed:
            raise DeniedError("invalid_client")
        match asked.get("grant_type"):
            case "client_credentials":
                return self._given(_CLIENT_CREDENTIALS)
            case "refresh_token":
                return self._refreshed(str(asked.get("refresh_token")))
            case grant if grant == TOKEN_EXCHANGE:
                return self._exchanged(asked)
        raise DeniedError("unsupported_grant_type")

    def _exchanged(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked.get("subject_token_type") != _ID_TOKEN or asked.get("requested_token_type") != _OFFLINE:
            raise DeniedError("invalid_request")
        if not self._is_fresh(str(asked.get("subject_token"))):
            raise DeniedError("invalid_subject_token")
        if str(asked.get("expiring", "0")) != "1":
            return self._given(None)
        return self._pair()

    def _refreshed(self, token: str) -> dict[str, Any]:
        known = self._refresh.get(token)
        if known is None or known.is_over or known.ends_at <= self.clock():
            raise DeniedError("invalid_grant")
        # The one before this is not accepted any more: its replacement has been used.
        for other in self._refresh.values():
            if other.replacement == token:
                other.is_over = True
        pair = self._pair()
        known.replacement = pair["refresh_token"]
        return pair

    def _pair(self) -> dict[str, Any]:
        token = f"shprt_{secrets.token_hex(16)}"
        self._refresh[token] = RefreshToken(self.clock() + _REFRESH)
        more = {"refresh_token": token, "refresh_token_expires_in": int(_REFRESH.total_seconds())}
        return self._given(_EXPIRING) | more

    def _given(self, life: timedelta | None) -> dict[str, Any]:
        token = f"shpat_{secrets.token_hex(16)}"
        self._access[token] = self.clock() + life if life else None
        self.granted += 1
        given: dict[str, Any] = {"access_token": token, "scope": ",".join(self.scopes)}
        return given | ({"expires_in": int(life.total_seconds())} if life else {})

    def _is_fresh(self, id_token: str) -> bool:
        """Whether this is an ID token of this shop that has not ended."""
        parts, _, signature = id_token.rpartition(".")
        wanted = [
            _text(hmac.new(key.encode(), parts.encode(), hashlib.sha256).digest())
            for key in self.client_secrets
        ]
        if signature not in wanted:
            return False
        claims = json.loads(base64.urlsafe_b64decode(parts.partition(".")[2] + "=="))
        is_for_us = claims.get("dest") == f"https://{self.shop}" and claims.get("aud") == self.client_id
        return is_for_us and float(claims.get("exp", 0)) > self.clock().timestamp()


def query_hmac(query: Mapping[str, str], secret: str) -> str:
    """Shopify's signature of a query: sorted, percent-encoded pairs without the signature itself, in hex."""
    pairs = sorted((name, value) for name, value in query.items() if name != "hmac")
    text = "&".join(f"{quote(name, safe=_PLAIN)}={quote(value, safe=_PLAIN)}" for name, value in pairs)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


_PLAIN = "!'()*"  # what JavaScript's encodeURIComponent leaves as it is, beside letters, digits and -_.~


def _part(content: Mapping[str, Any]) -> str:
    return _text(json.dumps(content, separators=(",", ":")).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
