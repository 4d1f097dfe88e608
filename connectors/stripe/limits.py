"""How fast we may ask Stripe: a budget for the account and mode, and with a live key one for each endpoint beside it.

Live keys have 25 requests a second on each endpoint and 100 in all; test keys share 25 for everything
(docs.stripe.com/rate-limits). The budgets are shared by all our processes (`StoreAccess.turns`) and have no depth: a
burst on top of the rate is counted by Stripe in the same second and refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from connectors.base import Turns
from connectors.stripe.errors import SlowDownError, Waiting

_LIVE_PER_ENDPOINT, _LIVE_IN_ALL, _TEST_IN_ALL = 25.0, 100.0, 25.0
# A little under the limit: a request may take longer on its way than the one after it.
_SHARE = 0.97
# Requests that this process sends late would meet those that are on time: so many in a row take this long at least.
_SECOND = 1.01
_ALL = "all"


@dataclass
class _Budget:
    """What Stripe lets through in a second, and when this process sent its last requests of that number."""

    name: str
    limit: float
    sent: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self.sent = deque(maxlen=max(1, int(self.limit)))

    @property
    def opens_at(self) -> float:
        """Before when one more would be one too many in a second, on the loop's clock."""
        return self.sent[0] + _SECOND if len(self.sent) == self.sent.maxlen else 0.0


class Limits:
    """The paces of one account in one mode. `requests_per_second` replaces Stripe's numbers; 0 means no limit."""

    def __init__(self, turns: Turns, *, is_live: bool, requests_per_second: float | None = None) -> None:
        self._turns = turns
        self._per_endpoint = _LIVE_PER_ENDPOINT if is_live and requests_per_second is None else None
        in_all = _LIVE_IN_ALL if is_live else _TEST_IN_ALL
        self._in_all = _Budget(_ALL, in_all if requests_per_second is None else requests_per_second)
        self._endpoints: dict[str, _Budget] = {}
        self._sending = asyncio.Lock()

    @property
    def per_list(self) -> float:
        """What one endpoint may take of the account's pace, in a second; 0: no limit."""
        return _SHARE * (self._per_endpoint or self._in_all.limit)

    async def turn(self, endpoint: str) -> None:
        """Returns when a request to this endpoint may start."""
        if not self._in_all.limit:
            return
        # The endpoint's first: a place in the account's queue is not held for an endpoint that is not ready.
        budgets = self._budgets(endpoint)
        for budget in budgets:
            await self._turns.take(budget.name, per_second=_SHARE * budget.limit)
        loop = asyncio.get_running_loop()
        async with self._sending:
            opens_at = max(each.opens_at for each in budgets)
            if opens_at > loop.time():
                await asyncio.sleep(opens_at - loop.time())
            for budget in budgets:
                budget.sent.append(loop.time())

    async def slow_down(self, endpoint: str, refused: SlowDownError, seconds: float) -> None:
        """Whoever Stripe means waits; the request that was refused waits by itself."""
        if refused.whom is Waiting.REQUEST or not self._in_all.limit:
            return
        is_endpoint = refused.whom is Waiting.ENDPOINT and self._per_endpoint is not None
        await self._turns.pause(endpoint if is_endpoint else _ALL, seconds)

    def _budgets(self, endpoint: str) -> list[_Budget]:
        if self._per_endpoint is None:
            return [self._in_all]
        return [
            self._endpoints.setdefault(endpoint, _Budget(endpoint, self._per_endpoint)),
            self._in_all,
        ]
