"""A merchant's way in by browser: the shop's address, then the shop's own page that hands us a key, or a pasted key.

The shop posts the key from server to server, unsigned and without its name. So what ties it to one shop is a ticket in
`user_id`, and what proves it is a call to that very shop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from connectors.web import FormField, Plain, Redirect, Site, StoreSummary, WebAnswer, WebPage, WebRequest
from connectors.woocommerce.answers import KEYS_PAGE, NoAccessError
from connectors.woocommerce.finding import find_shop
from connectors.woocommerce.install import WooCommerceInstall
from rewards.errors import InvalidInputError, PlatformError

APP_NAME = "Perennial"
TICKET_SECONDS = 60 * 60
# The shop waits 60 seconds for our answer, and deletes the key when none comes.
_ANSWER_SECONDS = 40.0
_PORTS = (80, 443, 8080)
_PATH: Final = "/install/woocommerce"
_SCOPE: Final = "read_write"
_KEY, _SECRET = re.compile(r"ck_[0-9a-f]{40}"), re.compile(r"cs_[0-9a-f]{40}")
_FLOW = WooCommerceInstall()
_OTHER_WAY = {"Paste a key instead": f"{_PATH}/keys"}
_AGAIN = {"Try again": _PATH, **_OTHER_WAY}


class _Grant(msgspec.Struct):
    """What the shop hands over."""

    user_id: str
    consumer_key: str
    consumer_secret: str
    key_permissions: str


class WooCommerceWeb:
    """The pages below /install/woocommerce."""

    def __init__(self) -> None:
        self._installing: set[asyncio.Task[None]] = set()

    async def handle(self, request: WebRequest, site: Site) -> WebAnswer:
        """ "" asks for the address, "return" is where the shop sends the browser, "callback" gets the key, "keys" asks
        for a pasted one.
        """
        match request.method, request.path:
            case "GET", "":
                return _start(request.query.get("url", ""))
            case "POST", "":
                return await _to_the_shop(request.form.get("url", ""), site)
            case "POST", "callback":
                return await self._callback(request.body, site)
            case "GET", "return":
                return await _returned(request.query, site)
            case "GET", "keys":
                return _ask_for_keys(request.query.get("url", ""))
            case "POST", "keys":
                return await _pasted(request.form, site)
        return Plain(404, "There is no such page.")

    async def _callback(self, body: bytes, site: Site) -> Plain:
        """Takes a key: exactly 200 when it is ours to keep, as the shop deletes it otherwise.

        Where the shop itself does not know the key, it is no key of that shop. Where we cannot tell, because something
        stands between us and the shop, the key stays there and the page that the browser returns to explains.
        """
        try:
            grant = msgspec.json.decode(body, type=_Grant)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Plain(400, "This is no key.")
        data = await site.redeem(grant.user_id, once=False)
        if data is None or "shop" not in data:
            return Plain(403, "Nobody here waits for a key with this user_id, or not any more.")
        if not _is_what_we_asked_for(grant):
            why = "The shop handed over something else than a key with Read/Write permission."
            await _note(site, grant.user_id, data["shop"], refused=why)
            return Plain(400, why)
        task = asyncio.create_task(_install(grant, data["shop"], site))
        self._installing.add(task)
        task.add_done_callback(self._installing.discard)
        await asyncio.wait({task}, timeout=_ANSWER_SECONDS)
        if task.done():
            try:
                task.result()
            except NoAccessError as error:
                return Plain(403, str(error))
        return Plain(200, "OK")


def _is_what_we_asked_for(grant: _Grant) -> bool:
    keys_fit = _KEY.fullmatch(grant.consumer_key) and _SECRET.fullmatch(grant.consumer_secret)
    return grant.key_permissions == _SCOPE and keys_fit is not None


async def _install(grant: _Grant, shop: str, site: Site) -> None:
    """Checks the key by calls to the shop that was asked, stores it in place of an older one, and notes how it went.

    Raises NoAccessError when the shop refuses its own key.
    """
    answers = {"url": shop, "key": grant.consumer_key, "secret": grant.consumer_secret}
    try:
        made = await _connected(answers, site)
    except (InvalidInputError, PlatformError) as error:
        await _note(site, grant.user_id, shop, refused=str(error))
        if isinstance(error, NoAccessError) and error.code:
            raise
        return
    await _note(site, grant.user_id, shop, store=made.name, notes="\n".join(made.notes))


async def _note(site: Site, ticket: str, shop: str, **news: str) -> None:
    await site.amend(ticket, {"shop": shop, **news})


async def _connected(answers: Mapping[str, str], site: Site) -> StoreSummary:
    allowed = {"allow-private-hosts": "1"} if site.allow_private_hosts else {}
    return await site.install(await _FLOW.installation({**answers, **allowed}, site.session))


def _address(typed: str) -> FormField:
    return FormField("url", "The shop's address", value=typed, help="As in the browser, like shop.example")


def _start(typed: str) -> WebPage:
    return WebPage(
        "Connect your WooCommerce shop",
        (
            "Perennial asks your shop for a key with Read/Write permission. You approve that in your shop, "
            "signed in as somebody who may manage it.",
        ),
        fields=(_address(typed),),
        links=_OTHER_WAY,
    )


async def _to_the_shop(typed: str, site: Site) -> WebAnswer:
    """Sends the browser to the shop's own page. Raises InvalidInputError that explains what is in the way."""
    ours = _address_for_shops(site)
    shop = await find_shop(typed, site.session, allow_private_hosts=site.allow_private_hosts)
    if not shop.base.startswith("https:") and not site.allow_private_hosts:
        raise InvalidInputError(
            "The shop has no https, so its key would pass the internet in clear. Ask its host for https (a certificate "
            f"costs nothing), or paste a key made under {KEYS_PAGE}: requests are then signed, and the secret is never "
            "sent."
        )
    asked = {
        "app_name": APP_NAME,
        "scope": _SCOPE,
        "user_id": await site.ticket({"shop": shop.base}, TICKET_SECONDS),
        "return_url": f"{ours}{_PATH}/return",
        "callback_url": f"{ours}{_PATH}/callback",
    }
    return Redirect(f"{shop.base}/wc-auth/v1/authorize?{urlencode(asked)}")


def _address_for_shops(site: Site) -> str:
    """Where a shop can hand over a key. Raises InvalidInputError when it would not do that at our address."""
    address = site.public_url
    if address is None or not address.startswith("https:"):
        raise InvalidInputError(
            "WooCommerce hands keys only to an https address, and Perennial has none yet. Paste a key instead (made under "
            f"{KEYS_PAGE}), or ask the operator to set PERENNIAL_PUBLIC_URL to an address that begins with https."
        )
    port = urlsplit(address).port
    if port not in (None, *_PORTS) and not site.allow_private_hosts:
        raise InvalidInputError(
            f"WooCommerce shops only call the ports 80, 443 and 8080, and Perennial is at port {port}. Ask the operator for "
            "another PERENNIAL_PUBLIC_URL, or paste a key; changes are then read every few minutes."
        )
    return address


async def _returned(query: Mapping[str, str], site: Site) -> WebPage:
    """What came of it. That the address says "success" proves nothing: only what the ticket notes counts."""
    data = await site.redeem(query.get("user_id", ""), once=False)
    if data is None:
        return WebPage(
            "This took too long", ("The link held for an hour. Begin again.",), links=_AGAIN, status=400
        )
    if "store" in data:
        notes = [note for note in data.get("notes", "").split("\n") if note]
        return _done(data["store"], notes)
    if "refused" in data:
        lines = (data["refused"], f"Keys that you do not need any more can be revoked under {KEYS_PAGE}.")
        return WebPage("Your shop is not connected", lines, links=_AGAIN, status=400)
    if query.get("success") != "1":
        return WebPage(
            "Your shop is not connected", ("You did not approve it, so nothing was changed.",), links=_AGAIN
        )
    return WebPage(
        "No key has come yet",
        (
            "Your shop is still being set up, or its host does not let it call us. Reload this page in a minute. "
            "If it stays so, paste a key instead.",
        ),
        links=_OTHER_WAY,
    )


def _ask_for_keys(typed: str) -> WebPage:
    return WebPage(
        "Connect your WooCommerce shop with a key",
        (
            f"Make a key with Read/Write permission under {KEYS_PAGE}, for a user who may manage the shop, and paste both "
            "parts of it here.",
        ),
        fields=(
            _address(typed),
            FormField("key", "Consumer key", help="Begins with ck_"),
            FormField("secret", "Consumer secret", kind="password", help="Begins with cs_"),
        ),
    )


async def _pasted(form: Mapping[str, str], site: Site) -> WebPage:
    answers = {name: form.get(name, "") for name in ("url", "key", "secret")}
    made = await _connected(answers, site)
    return _done(made.name, made.notes)


def _done(name: str, notes: Sequence[str]) -> WebPage:
    lines = (f"{name} is connected. Its customers, coupons and orders are being read now.", *notes)
    return WebPage("Connected", lines)
