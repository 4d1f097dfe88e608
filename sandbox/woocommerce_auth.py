"""Who may call: OAuth 1.0a over plain http, Basic or query keys over https, and the refusals of each."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote

from aiohttp import web

from sandbox.woocommerce_coupons import Problem
from sandbox.woocommerce_host import Host

_MINUTES_15 = 15 * 60
_DIGESTS = {"HMAC-SHA1": hashlib.sha1, "HMAC-SHA256": hashlib.sha256}
_REFUSED = "woocommerce_rest_authentication_error"


@dataclass(frozen=True)
class ApiKey:
    """A consumer key with its secret; `permission` is read, write or read_write."""

    key: str
    secret: str
    permission: str = "read_write"


class KeyRing:
    """The shop's keys and the nonces used in the last fifteen minutes."""

    def __init__(self, keys: tuple[ApiKey, ...], host: Host) -> None:
        self.keys = {key.key: key for key in keys}
        self._host = host
        self._nonces: dict[str, float] = {}

    def check(self, request: web.Request, home: str, *, is_https: bool) -> None:
        """Returns when the request may pass; raises Problem."""
        key = self._over_https(request) if is_https else self._over_http(request, home)
        wanted = "read" if request.method in ("GET", "HEAD") else "write"
        if wanted not in key.permission:
            raise Problem(401, _REFUSED, f"The API key provided does not have {wanted} permissions.")

    def _over_https(self, request: web.Request) -> ApiKey:
        name, secret = request.query.get("consumer_key", ""), request.query.get("consumer_secret", "")
        scheme, _, given = self._host.authorization(request).partition(" ")
        if scheme == "Basic":
            try:
                name, _, secret = base64.b64decode(given).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                name = ""
        if name not in self.keys:
            raise Problem(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
        if not hmac.compare_digest(self.keys[name].secret, secret):
            raise Problem(401, _REFUSED, "Consumer secret is invalid.")
        return self.keys[name]

    def _over_http(self, request: web.Request, home: str) -> ApiKey:
        """Basic is ignored here: the answer is as if no key had been sent."""
        params = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        params |= _header_params(self._host.authorization(request))
        if "oauth_consumer_key" not in params:
            raise Problem(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
        key = self.keys.get(params["oauth_consumer_key"])
        if key is None:
            raise Problem(401, _REFUSED, "Consumer key is invalid.")
        signature = params.pop("oauth_signature", "")
        wanted = _signature(request.method, home + request.rel_url.raw_path, params, key.secret)
        if not hmac.compare_digest(signature.encode(), wanted.encode()):
            raise Problem(401, _REFUSED, "Invalid signature - provided signature does not match.")
        self._check_time(params.get("oauth_timestamp", ""), params.get("oauth_nonce", ""))
        return key

    def _check_time(self, timestamp: str, nonce: str) -> None:
        now = time.time() + self._host.clock_off_seconds
        if not timestamp.isdigit() or abs(now - int(timestamp)) > _MINUTES_15:
            raise Problem(401, _REFUSED, "Invalid timestamp.")
        if nonce in self._nonces:
            raise Problem(401, _REFUSED, "Invalid nonce - nonce has already been used.")
        self._nonces[nonce] = now
        while self._nonces and now - next(iter(self._nonces.values())) > _MINUTES_15:
            del self._nonces[next(iter(self._nonces))]


def _header_params(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    if scheme != "OAuth":
        return {}
    pairs = (part.strip().partition("=") for part in rest.split(","))
    return {unquote(name): unquote(value.strip('"')) for name, _, value in pairs}


def _signature(method: str, address: str, params: Mapping[str, str], secret: str) -> str:
    digest = _DIGESTS.get(params.get("oauth_signature_method", ""))
    if digest is None:
        raise Problem(401, _REFUSED, "Invalid signature - signature method is invalid.")
    pairs = "&".join(f"{quote(name, safe='')}={quote(params[name], safe='')}" for name in sorted(params))
    base = f"{method}&{quote(address, safe='')}&{quote(pairs, safe='')}"
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), base.encode(), digest)).decode()
