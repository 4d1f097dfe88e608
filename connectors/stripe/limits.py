"""How fast we may ask Stripe: a budget for the account and mode, and with a live key one for each endpoint beside it.

Live keys have 25 requests a second on each endpoint and 100 in all; test keys share 25 for everything
(docs.stripe.com/rate-limits). The budgets are shared by all our processes (`StoreAccess.turns`) and have no depth: a
burst on top of the rate is counted by Stripe in the same second and refused.
"""

from __future__ import annotations

from connectors.base import Turns
from connectors.stripe.errors import SlowDownError, Waiting

_LIVE_PER_ENDPOINT, _LIVE_IN_ALL, _TEST_IN_ALL = 25.0, 100.0, 25.0
# A little under the limit: a request may take longer on its way than the one after it.
_SHARE = 0.97
_ALL = "all"


class Limits:
    """The paces of one account in one mode. `requests_per_second` replaces Stripe's numbers; 0 means no limit."""

    def __init__(self, turns: Turns, *, is_live: bool, requests_per_second: float | None = None) -> None:
        self._turns = turns
        self._in_all = _SHARE * (_LIVE_IN_ALL if is_live else _TEST_IN_ALL)
        self._per_endpoint = _SHARE * _LIVE_PER_ENDPOINT if is_live else None
        if requests_per_second is not None:
            self._in_all, self._per_endpoint = _SHARE * requests_per_second, None

    @property
    def per_list(self) -> float:
        """What one endpoint may take of the account's pace, in a second; 0: no limit."""
        return self._per_endpoint or self._in_all

    async def turn(self, endpoint: str) -> None:
        """Returns when a request to this endpoint may start."""
        if self._per_endpoint is not None:
            await self._turns.take(endpoint, per_second=self._per_endpoint)
        # Only then: a place in the account's queue is not held for an endpoint that is not ready.
        if self._in_all:
            await self._turns.take(_ALL, per_second=self._in_all)

    async def slow_down(self, endpoint: str, refused: SlowDownError, seconds: float) -> None:
        """Whoever Stripe means waits; the request that was refused waits by itself."""
        if refused.whom is Waiting.REQUEST or not self._in_all:
            return
        is_endpoint = refused.whom is Waiting.ENDPOINT and self._per_endpoint is not None
        await self._turns.pause(endpoint if is_endpoint else _ALL, seconds)
