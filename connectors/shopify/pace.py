"""Shopify's cost bucket, kept on our side so that it is hardly ever overdrawn.

Source: shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits: points per app and store, restored by the second;
each answer tells the state in `extensions.cost.throttleStatus`.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from rewards.errors import RetryLaterError


class ThrottleStatus(msgspec.Struct, rename="camel"):
    """The bucket as Shopify sees it."""

    maximum_available: float
    currently_available: float
    restore_rate: float


class Cost(msgspec.Struct, rename="camel"):
    """What a request asked for, and what was left."""

    requested_query_cost: float = 0.0
    throttle_status: ThrottleStatus | None = None


class CostBucket:
    """How many points one store has left; requests wait here instead of being refused."""

    def __init__(self) -> None:
        # The smallest plan's bucket, half full: another process may have used it just now.
        self._maximum, self._restore_rate, self._level = 2_000.0, 100.0, 1_000.0
        self._in_flight = 0.0
        self._at = time.monotonic()
        self._turn = asyncio.Lock()
        self._costs: dict[str, float] = {}

    def cost_of(self, name: str) -> float:
        """What the document cost last time; a careful guess for the first."""
        return self._costs.get(name, 50.0)

    async def take(self, points: float, deadline: float) -> None:
        """Waits for the points, first come first served. Raises RetryLaterError when that outlasts the deadline.

        `deadline` is a `time.monotonic()`.
        """
        async with self._turn:
            needed = min(points, self._maximum)
            wait = (needed - self._now()) / self._restore_rate
            if wait > 0:
                if time.monotonic() + wait > deadline:
                    raise RetryLaterError("Shopify's rate limit is used up.", retry_after_seconds=wait)
                await asyncio.sleep(wait)
            self._level = self._now() - points
            self._in_flight += points

    def give_back(self, points: float) -> None:
        """The request ended without saying what it cost."""
        self._in_flight -= points

    def settle(self, name: str, points: float, cost: Cost) -> None:
        """Takes over what Shopify said at the end of a request that reserved `points`."""
        self._in_flight -= points
        if cost.requested_query_cost:
            self._costs[name] = cost.requested_query_cost
        if cost.throttle_status is not None:
            status = cost.throttle_status
            self._maximum = status.maximum_available
            self._restore_rate = max(1.0, status.restore_rate)
            # Shopify may not have counted yet what is still on its way.
            self._level = status.currently_available - self._in_flight
            self._at = time.monotonic()

    def wait_for(self, cost: Cost) -> float:
        """How long until a throttled request fits."""
        status = cost.throttle_status
        if status is None:
            return 1.0
        missing = cost.requested_query_cost - status.currently_available
        return max(0.05, missing / max(1.0, status.restore_rate))

    def _now(self) -> float:
        now = time.monotonic()
        self._level = min(self._maximum, self._level + (now - self._at) * self._restore_rate)
        self._at = now
        return self._level
