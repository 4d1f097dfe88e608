"""The machine that a WooCommerce shop runs on: what it does to requests before WordPress sees them, and to answers."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

from aiohttp import web

_WARNING = (
    '<br />\n<b>Warning</b>:  Undefined array key "size" in <b>/var/www/html/wp-content/plugins/slider/slider.php</b> '
    "on line <b>113</b><br />\n"
)
_PORTS = (80, 443, 8080)


@dataclass
class Host:
    """How the host is today. Counts fall by one per affected request, the rest holds until changed.

    `calls_private_hosts` False is WordPress as it comes: it neither calls private addresses nor other ports than 80,
    443 and 8080, and says so to nobody. `caches`: a cache that somebody set up too eagerly keeps every good answer to a GET and gives
    it again, whoever asks. `moved_to`: the shop's new base address, to which everything is redirected that comes
    by another name.
    """

    rewrites: bool = True  # unknown addresses go to WordPress; else the web server says 404
    strips_authorization: bool = False
    strips_totals: bool = False  # X-WP-Total and X-WP-TotalPages
    clock_off_seconds: int = 0
    prints_warnings: bool = False
    moved_to: str | None = None
    is_in_maintenance: bool = False
    has_firewall: bool = False
    fatal_errors: int = 0
    bad_gateways: int = 0
    hangs: int = 0
    hangs_seconds: float = 30.0
    calls_private_hosts: bool = True
    turns_scripts_away: bool = False  # a firewall's usual rule against what calls itself by a language's name
    caches: bool = False
    cached: dict[str, web.Response] = field(default_factory=dict)

    async def failure(self, request: web.Request) -> web.StreamResponse | None:
        """The answer that never reached WordPress."""
        if self.moved_to is not None and request.host != urlsplit(self.moved_to).netloc:
            return web.Response(status=301, headers={"Location": f"{self.moved_to}{request.raw_path}"})
        if self.caches and request.method == "GET" and request.raw_path in self.cached:
            kept = self.cached[request.raw_path]
            headers = {**kept.headers, "Age": "7", "X-Cache": "HIT"}
            return web.Response(status=kept.status, body=kept.body, headers=headers)
        agent = request.headers.get("User-Agent", "").lower()
        if self.has_firewall or (self.turns_scripts_away and ("python" in agent or not agent)):
            return _page(403, "Your access to this site has been limited by the site owner")
        if self.is_in_maintenance:
            answer = _page(503, "Briefly unavailable for scheduled maintenance. Check back in a minute.")
            answer.headers["Retry-After"] = "600"
            return answer
        if self.hangs > 0:
            self.hangs -= 1
            await asyncio.sleep(self.hangs_seconds)
            return _page(504, "Gateway Time-out")
        if self.bad_gateways > 0:
            self.bad_gateways -= 1
            return _page(502, "Bad Gateway")
        if self.fatal_errors > 0:
            self.fatal_errors -= 1
            return _page(500, "There has been a critical error on this website.")
        return None

    def authorization(self, request: web.Request) -> str:
        """The header as WordPress sees it: some hosts keep it from PHP."""
        return "" if self.strips_authorization else request.headers.get("Authorization", "")

    def answered(self, response: web.StreamResponse, request: web.Request) -> web.StreamResponse:
        """The answer as it leaves the host: with its clock's time, and after what PHP has printed.

        What was printed went out before the headers: then there are none, and the status is 200.
        """
        if self.prints_warnings and isinstance(response, web.Response):
            body = _WARNING.encode() + (response.body if isinstance(response.body, bytes) else b"")
            response = web.Response(body=body, content_type="text/html", charset="UTF-8")
        if self.strips_totals:
            for name in ("X-WP-Total", "X-WP-TotalPages"):
                response.headers.pop(name, None)
        if self.clock_off_seconds:
            moment = datetime.now(UTC) + timedelta(seconds=self.clock_off_seconds)
            response.headers["Date"] = format_datetime(moment, usegmt=True)
        if self.caches and isinstance(response, web.Response) and response.status == 200:
            self.cached[request.raw_path] = response
        return response

    def calls(self, address: str) -> bool:
        """Whether WordPress calls this address at all."""
        parts = urlsplit(address)
        try:
            is_private = not ipaddress.ip_address(parts.hostname or "").is_global
        except ValueError:
            is_private = parts.hostname == "localhost"
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return self.calls_private_hosts or (port in _PORTS and not is_private)


def _page(status: int, text: str) -> web.Response:
    return web.Response(
        status=status, text=f"<!DOCTYPE html><html><body>{text}</body></html>", content_type="text/html"
    )
