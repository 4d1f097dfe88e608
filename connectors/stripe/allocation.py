"""How much Stripe lets an account be read: 500 requests for each payment of 30 days, and 10,000 in any case.

Source: docs.stripe.com/rate-limits. Only a long past with few payments now comes near that.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connectors.besides import ReadingEstimate
from connectors.stripe.history import PAGE, History

PER_PAYMENT, AT_LEAST, DAYS = 500, 10_000, 30


async def notice(history: History, now: datetime) -> str | None:
    """What the merchant should know before all of it is read; None when it takes less than half. Raises PlatformError."""
    payments = await history.recent_payments(now - timedelta(days=DAYS))
    if payments >= PAGE:  # no past is long enough
        return None
    return warning(await history.reads(), payments)


async def estimate(history: History, now: datetime, per_second: float) -> ReadingEstimate:
    """What reading all of it takes, and what Stripe lets this account be read. Raises PlatformError."""
    payments = await history.recent_payments(now - timedelta(days=DAYS))
    reads = await history.reads()
    many = "at least " if payments >= PAGE else ""
    said = (
        f"Stripe lets this account be read {many}about {_allowed(payments):,} times in {DAYS} days ({PER_PAYMENT} for each "
        f"payment, at least {AT_LEAST:,})."
    )
    return ReadingEstimate(reads, reads / per_second if per_second else 0.0, said)


def _allowed(payments: int) -> int:
    return max(AT_LEAST, PER_PAYMENT * payments)


def warning(reads: int, payments: int) -> str | None:
    """The words for so many requests, where so many payments were made in 30 days."""
    allowed = _allowed(payments)
    if reads * 2 < allowed:
        return None
    return (
        f"Reading the whole past takes about {reads:,} requests; Stripe lets this account be read about {allowed:,} times "
        f"in {DAYS} days ({PER_PAYMENT} for each payment, at least {AT_LEAST:,}). Read all of it only once in that time."
    )
