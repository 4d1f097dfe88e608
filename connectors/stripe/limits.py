"""How fast we may ask Stripe: one pace per account and mode, one per endpoint, shared by everything in this process.

Live keys have 25 requests a second on each endpoint and 100 in all; test keys share 25 for everything
(docs.stripe.com/rate-limits).

Why not a leaky bucket (aiolimiter): a bucket with room lets a burst through on top of its rate, which Stripe counts
in the same second and refuses; one without room loses the time by which each timer fires late. Handing out slots
on a fixed grid does neither.
"""

from __future__ import annotations

import asyncio
import math
from weakref import WeakValueDictionary

_LIVE_PER_ENDPOINT, _LIVE_IN_ALL, _TEST_IN_ALL = 25.0, 100.0, 25.0
# A little under the limit: a request may take longer on its way than the one after it.
_SHARE = 0.97


class Pace:
    """Hands out the moments at which requests may start, evenly spaced."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / (per_second * _SHARE) if per_second else 0.0
        self._next = -math.inf

    def slot(self, now: float) -> float:
        """The next free moment, taken for the caller."""
        moment = max(now, self._next)
        self._next = moment + self._gap
        return moment

    def pause(self, until: float) -> None:
        """No slot before this moment: the platform said that it was too much."""
        self._next = max(self._next, until)


class Limits:
    """The paces of one account in one mode. `requests_per_second` replaces Stripe's numbers; 0 means no limit."""

    def __init__(self, *, is_live: bool, requests_per_second: float | None = None) -> None:
        if requests_per_second is not None:
            in_all = per_endpoint = requests_per_second
        elif is_live:
            in_all, per_endpoint = _LIVE_IN_ALL, _LIVE_PER_ENDPOINT
        else:
            in_all = per_endpoint = _TEST_IN_ALL
        self._per_endpoint = per_endpoint if per_endpoint < in_all else None
        self._all = Pace(in_all)
        self._endpoints: dict[str, Pace] = {}

    async def turn(self, endpoint: str) -> None:
        """Returns when a request to this endpoint may start."""
        if self._per_endpoint is not None:
            await _wait_for(self._endpoints.setdefault(endpoint, Pace(self._per_endpoint)))
        # Only then: a place in the account's queue is not held for an endpoint that is not ready.
        await _wait_for(self._all)

    def slow_down(self, seconds: float) -> None:
        """Everybody waits: Stripe refused a request for being too much."""
        self._all.pause(asyncio.get_running_loop().time() + seconds)


async def _wait_for(pace: Pace) -> None:
    now = asyncio.get_running_loop().time()
    moment = pace.slot(now)
    if moment > now:
        await asyncio.sleep(moment - now)


_SHARED: WeakValueDictionary[tuple[str, str, bool, float | None], Limits] = WeakValueDictionary()


def shared(base: str, account: str, *, is_live: bool, requests_per_second: float | None) -> Limits:
    """The limits that every open store of this account and mode waits for together."""
    key = (base, account, is_live, requests_per_second)
    limits = _SHARED.get(key)
    if limits is None:
        limits = _SHARED[key] = Limits(is_live=is_live, requests_per_second=requests_per_second)
    return limits
