"""Finds the shop behind the address that a merchant typed, and explains what stands in the way. No key is sent here."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import msgspec

from connectors.addresses import refuse_private
from connectors.base import Secret
from connectors.woocommerce.answers import CertificateError, MovedError, UnreachableError, UnreadableError
from connectors.woocommerce.client import REST_ROOT, Client
from connectors.woocommerce.mapping import IndexData
from connectors.woocommerce.pace import Pace
from rewards.errors import AccessRevokedError, InvalidInputError, PlatformError, RefusedError

PATIENCE_SECONDS = 5.0  # somebody is waiting
INDEX_FIELDS = {"_fields": "name,url,home,timezone_string,gmt_offset,namespaces"}
INDEX = msgspec.json.Decoder(IndexData)
_MOST_MOVES = 4
API = "wc/v3"
_PORTS = {"http": 80, "https": 443}
# What people copy from their browser instead of the shop's address.
# What a plugin may have made of wp-json.
_ROOT = re.compile(r"[A-Za-z0-9._~-]{1,60}(/[A-Za-z0-9._~-]{1,60}){0,3}")
_BY_PARAMETER = "?rest_route="
_FRONT_PAGE_TIMEOUT = aiohttp.ClientTimeout(total=20)
_PAGES = re.compile(r"/(wp-admin|wp-login\.php|wp-json|wc-auth|index\.php)(/.*)?$")
_NO_SHOP = "There is no WooCommerce API at this address; check it, that WooCommerce is active and that permalinks are not plain."
_PLAIN = (
    "The shop's permalinks are plain, and then its API takes no keys: choose any other kind in the shop's admin pages "
    "under Settings, Permalinks, and connect again."
)
_NO_WOOCOMMERCE = "This is a WordPress site whose WooCommerce is not active, or older than 3.5; activate or update it and connect again."
_BLOCKED = (
    "The shop's REST API is blocked, often by a security plugin or the host's firewall; allow /wp-json/ there "
    "and connect again."
)


@dataclass(frozen=True, slots=True)
class FoundShop:
    """A shop that answers: its base address, what its index says, and where below the address its API is."""

    base: str
    index: IndexData
    root: str = REST_ROOT


def normalised(address: str) -> str:
    """The shop's base address: scheme, host in lower case, port, path without a final slash or an admin page."""
    text = address.strip()
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme.lower() not in _PORTS or parts.username or " " in parts.netloc:
        raise InvalidInputError("This is no shop's address; write it like https://shop.example.")
    scheme = parts.scheme.lower()
    name = f"[{host}]" if ":" in host else host.rstrip(".")
    where = name if port in (None, _PORTS[scheme]) else f"{name}:{port}"
    return f"{scheme}://{where}{_PAGES.sub('', parts.path.rstrip('/')).rstrip('/')}"


async def find_shop(typed: str, session: aiohttp.ClientSession, *, allow_private_hosts: bool) -> FoundShop:
    """The shop at this address or where that sends us on the same domain: to https, to www.

    An address without a scheme is tried with https first. Raises InvalidInputError that says what to do, and
    RetryLaterError when the shop does not answer properly now.
    """
    base = normalised(typed)
    if not allow_private_hosts:
        await refuse_private(base)
    try:
        return await _at_home(await _tried("://" in typed, base, session), session)
    except CertificateError as error:
        raise InvalidInputError(str(error)) from error
    except UnreachableError as error:
        raise InvalidInputError(
            f"{error} Check the address, and that the shop is open to the internet, or try again later."
        ) from error


async def _tried(is_whole: bool, base: str, session: aiohttp.ClientSession) -> FoundShop:
    try:
        return await _followed(base, session)
    except CertificateError:
        raise
    except UnreachableError:
        if is_whole:
            raise
        return await _followed(base.replace("https:", "http:", 1), session)


async def _followed(base: str, session: aiohttp.ClientSession) -> FoundShop:
    """Goes where the shop sends us. Each address is asked for no more than its index, without a key."""
    for _ in range(_MOST_MOVES):
        try:
            return await _shop_at(base, session)
        except MovedError as moved:
            base = _moved_to(base, moved)
    raise InvalidInputError(
        "The shop's address sends us round in circles; give the one that your browser ends at."
    )


def _moved_to(base: str, moved: MovedError) -> str:
    """The base of the address that we were sent to: the same index on the same domain, and not the weaker one.

    To any other the merchant has to say yes: between us and plain http anybody may answer, and the key follows.
    """
    location = moved.location
    if location.startswith("/"):
        scheme, _, rest = base.partition("://")
        location = f"{scheme}://{rest.partition('/')[0]}{location}"
    path = location.partition("?")[0].rstrip("/")
    is_weaker = base.startswith("https:") and not location.startswith("https:")
    if not path.endswith("/wp-json") or is_weaker or _domain(path) != _domain(base):
        raise InvalidInputError(str(moved)) from moved
    return normalised(path)


def _domain(address: str) -> str:
    return (urlsplit(normalised(address)).hostname or "").removeprefix("www.")


async def index_at(base: str, session: aiohttp.ClientSession, root: str = REST_ROOT) -> IndexData:
    """The index of whoever is at this address. Raises PlatformError."""
    return (await _client(base, session, root).get("", INDEX.decode, INDEX_FIELDS, with_key=False)).value


async def _shop_at(base: str, session: aiohttp.ClientSession) -> FoundShop:
    """The shop at exactly this address. Raises InvalidInputError and PlatformError."""
    try:
        return FoundShop(base, await _index(base, session, REST_ROOT))
    except _NoIndexError as error:
        root = await _told_root(base, session)
        if root not in (None, REST_ROOT, _BY_PARAMETER):
            with suppress(_NoIndexError):
                return FoundShop(base, await _index(base, session, root), root)
        why = await _why_no_index(base, session)
        if why == _NO_SHOP and root == _BY_PARAMETER:
            why = _PLAIN
        if why == _NO_SHOP and isinstance(error.__cause__, UnreadableError):
            raise error.__cause__ from error
        raise InvalidInputError(why) from error


class _NoIndexError(Exception):
    """There is no index where it should be."""


async def _told_root(base: str, session: aiohttp.ClientSession) -> str | None:
    """Where the front page says that the API is, below the shop's address; None where it does not."""
    try:
        async with session.get(f"{base}/", allow_redirects=False, timeout=_FRONT_PAGE_TIMEOUT) as response:
            told = response.links.get("https://api.w.org/")
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
    address = str(told["url"]) if told else ""
    if "rest_route=" in address:
        return _BY_PARAMETER
    path = urlsplit(address).path.removeprefix(urlsplit(base).path).strip("/")
    is_ours = address and _domain(address) == _domain(base)
    return f"{path}/" if is_ours and _ROOT.fullmatch(path) else None


async def _index(base: str, session: aiohttp.ClientSession, root: str) -> IndexData:
    """What the shop says of itself; its lack of wc/v3 says that this is no shop. Raises _NoIndexError besides."""
    try:
        index = await index_at(base, session, root)
    except MovedError:
        raise
    except AccessRevokedError as error:
        raise InvalidInputError(_BLOCKED) from error
    except RefusedError as error:
        if error.code == "private":
            raise InvalidInputError(str(error)) from error
        raise _NoIndexError from error
    except UnreadableError as error:
        raise _NoIndexError from error
    if API not in index.namespaces:
        raise InvalidInputError(_NO_WOOCOMMERCE if index.namespaces else _NO_SHOP)
    return index


async def _why_no_index(base: str, session: aiohttp.ClientSession) -> str:
    """Plain permalinks leave only the address by parameter, under which keys do not work."""
    fields = {"rest_route": "/", "_fields": "namespaces"}
    try:
        index = (await _client(base, session, root="").get("", INDEX.decode, fields, with_key=False)).value
    except PlatformError:
        return _NO_SHOP
    if not index.namespaces:
        return _NO_SHOP
    return _PLAIN if API in index.namespaces else _NO_WOOCOMMERCE


async def _at_home(found: FoundShop, session: aiohttp.ClientSession) -> FoundShop:
    """The shop under the name that it gives itself: with or without www, by https where it can.

    So that one shop is not connected twice; and signatures only hold under that name.
    """
    home = _same_place(found)
    if home is None:
        return found
    try:
        return await _shop_at(home, session)
    except (InvalidInputError, PlatformError):
        return found


def _same_place(found: FoundShop) -> str | None:
    """The shop's home address where it is another way to write the address found, and not the weaker one."""
    try:
        home = normalised(found.index.home)
    except InvalidInputError:
        return None
    if found.base.startswith("https:"):
        home = home.replace("http:", "https:", 1)

    def core(address: str) -> str:
        return address.partition("://")[2].removeprefix("www.")

    return home if core(home) == core(found.base) and home != found.base else None


def _client(base: str, session: aiohttp.ClientSession, root: str = REST_ROOT) -> Client:
    nothing, pace = Secret(""), Pace(fixed=1)
    return Client(session, base, nothing, nothing, pace=pace, patience_seconds=PATIENCE_SECONDS, root=root)
