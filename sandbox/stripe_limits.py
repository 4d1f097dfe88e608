"""How much the stand-in for Stripe lets through, and how it refuses the rest (docs.stripe.com/rate-limits)."""

from __future__ import annotations

import time
from collections import defaultdict, deque

from aiohttp import web

LOCK_TIMEOUT = "lock_timeout"  # beside the reasons of the header: an object that another request holds


class Limiter:
    """At most so many requests in any second: of all endpoints together, and of each one with a live key."""

    def __init__(self, in_all: int, per_endpoint: int | None) -> None:
        self.in_all = in_all
        self.per_endpoint = per_endpoint
        self._all: deque[float] = deque()
        self._endpoints: dict[str, deque[float]] = defaultdict(deque)

    def reason(self, method: str, path: str) -> str | None:
        """Why this request is one too many, as the header says it; None when it may pass, and it is counted then."""
        now = time.monotonic()
        endpoint = self._endpoints[f"{method} {template(path)}"]
        for times in (self._all, endpoint):
            while times and times[0] <= now - 1:
                times.popleft()
        if self.per_endpoint is not None and len(endpoint) >= self.per_endpoint:
            return "endpoint-rate"
        if len(self._all) >= self.in_all:
            return "global-rate"
        self._all.append(now)
        endpoint.append(now)
        return None


def template(path: str) -> str:
    """The path with a placeholder for an id: what an endpoint is."""
    parts = path.split("/")  # "", "v1", noun, id; or with "checkout" or, in v2, "core" before the noun
    place = 4 if parts[2:3] in (["checkout"], ["core"]) else 3
    return "/".join([*parts[:place], *["{id}" for _ in parts[place : place + 1]], *parts[place + 1 :]])


def refusal(reason: str) -> web.Response:
    """Stripe's 429. A locked object has a code of its own and no header."""
    if reason == LOCK_TIMEOUT:
        message = "This object cannot be accessed right now because another API request is accessing it."
        return _answer(message, LOCK_TIMEOUT, {})
    return _answer("Request rate limit exceeded.", "rate_limit", {"Stripe-Rate-Limited-Reason": reason})


def _answer(message: str, code: str, headers: dict[str, str]) -> web.Response:
    error = {
        "message": message,
        "type": "invalid_request_error",
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
    }
    return web.json_response({"error": error}, status=429, headers=headers)
