"""The page on which a merchant lets an app in, `/wc-auth/v1/`, and the key that is made and handed over then.

As recorded in wc-auth-flow.json: every refusal is a page with status 401, and the key is handed over by a post that is
neither signed nor says which shop it comes from.
"""

from __future__ import annotations

import hashlib
import html
import json
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp import web

from sandbox.woocommerce_auth import ApiKey, KeyRing
from sandbox.woocommerce_host import Host

_NEEDED = ("app_name", "user_id", "return_url", "callback_url", "scope")
_SCOPES = ("read", "write", "read_write")
_NOT_SENT = "An error occurred in the request and at the time were unable to send the consumer data."


class _Denied(Exception):
    """The page says no."""


class GrantPages:
    """`visitor` is who the browser is signed in as: "administrator", "customer" or nobody ("")."""

    def __init__(self, keys: KeyRing, host: Host, session: Callable[[float], aiohttp.ClientSession]) -> None:
        self.home = ""
        self.visitor = "administrator"
        self.made: list[ApiKey] = []
        self._keys, self._host, self._session = keys, host, session
        self._nonce = secrets.token_hex(5)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """The page, and where its Approve leads."""
        router.add_get("/wc-auth/v1/authorize{end:/?}", self._ask)
        router.add_get("/wc-auth/v1/access_granted{end:/?}", self._grant)

    async def _ask(self, request: web.Request) -> web.Response:
        try:
            asked = _checked(request.query)
            if not self.visitor:
                where = f"{self.home}/wc-auth/v1/login/?{urlencode(asked)}"
                return web.Response(status=302, headers={"Location": where})
            self._check_visitor()
        except _Denied as denied:
            return _denied(str(denied))
        approve = (
            f"{self.home}/wc-auth/v1/access_granted/?{urlencode({**asked, 'wc_auth_nonce': self._nonce})}"
        )
        deny = _with(asked["return_url"], success="0", user_id=asked["user_id"])
        return web.Response(
            text=f"<p>{html.escape(asked['app_name'])} would like to connect to your store</p>"
            f'<a class="approve" href="{html.escape(approve)}">Approve</a>'
            f'<a class="deny" href="{html.escape(deny)}">Deny</a>',
            content_type="text/html",
        )

    async def _grant(self, request: web.Request) -> web.Response:
        try:
            asked = _checked(request.query)
            self._check_visitor()
            if request.query.get("wc_auth_nonce") != self._nonce:
                raise _Denied("Invalid nonce verification.")
            await self._hand_over(asked)
        except _Denied as denied:
            return _denied(str(denied))
        where = _with(asked["return_url"], success="1", user_id=asked["user_id"])
        return web.Response(status=302, headers={"Location": where})

    def _check_visitor(self) -> None:
        if self.visitor != "administrator":
            raise _Denied("You do not have permission to access this page.")

    async def _hand_over(self, asked: Mapping[str, str]) -> None:
        """Makes a key and posts it; a key that was not taken is deleted."""
        digest = hashlib.sha1(secrets.token_bytes(8), usedforsecurity=False).hexdigest()
        key = ApiKey(f"ck_{digest}", f"cs_{digest[::-1]}", asked["scope"])
        self._keys.keys[key.key] = key
        body = {
            "key_id": len(self._keys.keys),
            "user_id": asked["user_id"],
            "consumer_key": key.key,
            "consumer_secret": key.secret,
            "key_permissions": key.permission,
        }
        try:
            await self._post(asked["callback_url"], body)
        except _Denied:
            del self._keys.keys[key.key]
            raise
        self.made.append(key)

    async def _post(self, address: str, body: Mapping[str, object]) -> None:
        if not self._host.calls(address):
            raise _Denied("A valid URL was not provided.")
        headers = {
            "User-Agent": f"WordPress/7.0.4; {self.home}",
            "Content-Type": "application/json;charset=UTF-8",
        }
        async with self._session(60) as session:
            try:
                async with session.post(address, data=json.dumps(body).encode(), headers=headers) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _Denied(f"cURL error: {type(error).__name__}") from None
        if status != 200:
            raise _Denied(_NOT_SENT)


def _checked(query: Mapping[str, str]) -> dict[str, str]:
    """What was asked for. Raises _Denied in WooCommerce's words."""
    for name in _NEEDED:
        if not query.get(name):
            raise _Denied(f"Missing parameter {name}.")
    if query["scope"] not in _SCOPES:
        raise _Denied(f"Invalid scope {query['scope']}.")
    asked = {name: query[name] for name in _NEEDED}
    if "://" not in asked["callback_url"]:
        asked["callback_url"] = f"https://{asked['callback_url']}"
    for name in ("return_url", "callback_url"):
        if not urlsplit(asked[name]).hostname or " " in asked[name]:
            raise _Denied(f"The {asked[name]} is not a valid URL.")
    if not asked["callback_url"].startswith("https:"):
        raise _Denied("The callback_url needs to be over SSL.")
    return asked


def _with(address: str, **more: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(more)}"


def _denied(why: str) -> web.Response:
    text = f"<h1>Access denied</h1><p>Error: {html.escape(why)}</p>"
    return web.Response(status=401, text=text, content_type="text/html")
