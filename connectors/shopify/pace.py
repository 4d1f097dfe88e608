"""Shopify's cost bucket, kept on our side so that it is hardly ever overdrawn.

Source: shopify.dev/docs/apps/build/apis/graphql-admin/rate-limits: points per app and store, restored by the second;
each answer tells the state in `extensions.cost.throttleStatus`. All processes spend from the one budget of the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from connectors.base import Turns
from rewards.errors import RetryLaterError

_BUDGET = "graphql"
_GUESSED_COST = 50.0
_SHORTEST_WAIT_SECONDS = 0.5  # for a budget that is asked for elsewhere, even when nobody has patience


class ThrottleStatus(msgspec.Struct, rename="camel"):
    """The bucket as Shopify sees it."""

    maximum_available: float
    currently_available: float
    restore_rate: float


class Cost(msgspec.Struct, rename="camel"):
    """What a request asked for, and what was left."""

    requested_query_cost: float = 0.0
    throttle_status: ThrottleStatus | None = None


@dataclass(slots=True)
class Spent:
    """One request on its way; `cost` once Shopify has said it."""

    points: float
    cost: Cost | None = None


class CostBucket:
    """How many points one store has left; requests wait here instead of being refused."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        # The smallest plan's bucket, until an answer says another.
        self._maximum, self._restore_rate = 2_000.0, 100.0
        self._in_flight = 0.0
        self._costs: dict[str, float] = {}

    @asynccontextmanager
    async def spend(self, name: str, deadline: float) -> AsyncIterator[Spent]:
        """Waits until the document may be sent, and takes over what its answer said at the end.

        `deadline` is a `time.monotonic()`; raises RetryLaterError when waiting would outlast it.
        """
        spent = Spent(min(self._costs.get(name, _GUESSED_COST), self._maximum))
        await self._take(spent.points, deadline)
        self._in_flight += spent.points
        try:
            yield spent
        finally:
            self._in_flight -= spent.points
            if spent.cost is not None:
                await self._settle(name, spent.cost)

    async def throttled(self, cost: Cost) -> float:
        """Shopify refused a request for its cost: seconds until it fits."""
        status = cost.throttle_status
        if status is None:
            await self._turns.pause(_BUDGET, 1.0)
            return 1.0
        missing = cost.requested_query_cost - status.currently_available
        return max(0.05, missing / max(1.0, status.restore_rate))

    async def pause(self, seconds: float) -> None:
        """Shopify asked everybody to wait."""
        await self._turns.pause(_BUDGET, seconds)

    async def _take(self, points: float, deadline: float) -> None:
        patience = max(_SHORTEST_WAIT_SECONDS, deadline - time.monotonic())
        try:
            async with asyncio.timeout(patience):
                await self._turns.take(
                    _BUDGET, per_second=self._restore_rate, cost=points, burst=self._maximum - 1
                )
        except TimeoutError:
            seconds = points / self._restore_rate
            raise RetryLaterError(
                "Shopify's rate limit is used up.", retry_after_seconds=max(1.0, seconds)
            ) from None

    async def _settle(self, name: str, cost: Cost) -> None:
        if cost.requested_query_cost:
            self._costs[name] = cost.requested_query_cost
        if (status := cost.throttle_status) is None:
            return
        self._maximum = max(1.0, status.maximum_available)
        self._restore_rate = max(1.0, status.restore_rate)
        await self._turns.correct(
            _BUDGET,
            # Shopify may not have counted yet what is still on its way.
            available=status.currently_available - self._in_flight,
            per_second=self._restore_rate,
            burst=self._maximum - 1,
        )
