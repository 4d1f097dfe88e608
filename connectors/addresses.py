"""Which network addresses may be talked to on somebody else's word: public ones, unless the operator says otherwise.

A name is checked when the connection is made, not before: what it was resolved to a moment ago may be something else now
("DNS rebinding"), and a redirect or an address without any name would not be resolved at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from rewards.errors import InvalidInputError

PRIVATE = (
    "This address belongs to a private network. The operator can allow such addresses with "
    "PERENNIAL_ALLOW_PRIVATE_HOSTS=1."
)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Addresses of the IPv6 internet that stand for one of IPv4: a gateway may carry them back into our own network.
_TRANSLATED = tuple(ipaddress.IPv6Network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))


class PrivateAddressError(OSError):
    """A connection to a private address was about to be made. Says nothing of the address: it may be shown to anybody."""

    def __init__(self) -> None:
        super().__init__(PRIVATE)


def guarded_connector(
    allows: Callable[[str], bool], *, resolver: AbstractResolver | None = None
) -> aiohttp.TCPConnector:
    """What opens a session's connections: only to addresses that `allows` lets pass, as `is_public` does.

    Anything else fails with an aiohttp.ClientConnectorError, for which `is_private_refusal` is true.
    """

    def make_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = info
        if not allows(str(where[0])):
            raise PrivateAddressError
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(socket_factory=make_socket, resolver=resolver)


def is_public(text: str) -> bool:
    """True for an address of the internet; every address that only means something near us is none."""
    try:
        address: _Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast and not _is_site_local(one) for one in _meant(address))


def _meant(address: _Address) -> list[_Address]:
    """The address and those of IPv4 that are packed in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    packed = [address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED):
        packed.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address.ipv4_mapped or address, *(one for one in packed if one is not None)]


def _is_site_local(address: _Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.is_site_local


async def refuse_private(address: str) -> None:
    """Says so early when an address, as https://shop.example, is of no use here. Raises InvalidInputError.

    A kindness to whoever typed it and no protection: that is the connector's work.
    """
    parts = urlsplit(address)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError, ValueError):
        raise InvalidInputError(
            "The host name is not known; check the address for a slip of the pen."
        ) from None
    if not all(is_public(str(entry[4][0])) for entry in found):
        raise InvalidInputError(PRIVATE)


def is_private_refusal(error: BaseException) -> bool:
    """True when a failed request was not even begun, for its address's sake."""
    return isinstance(getattr(error, "os_error", error), PrivateAddressError)
