"""How a code in a store differs from the one that we asked for, in words for the merchant."""

from __future__ import annotations

from datetime import datetime, timedelta

from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, Coupon, HeldValue

GONE = "it is gone from the store"
REFUSED = "the store did not take it"
USED = "it is used up in the store, but no order with it has come"

_SAME_TIME = timedelta(minutes=1)  # some platforms keep times to the minute


def code_difference(wanted: CodeDraft, found: Coupon | None) -> str | None:
    """What is wrong with the code as the store holds it; None when it does what it should.

    What a platform does not say (no customer, no e-mail, no limit in its answer) counts as missing.
    """
    if found is None:
        return GONE
    if found.usage_limit is not None and (found.used_count or 0) >= found.usage_limit:
        return USED  # some platforms switch a code off with its last use
    problems = [
        None if found.is_active else "it is switched off",
        None if same_benefit(wanted.benefit, found.benefit) else "it gives something else",
        _reach_difference(wanted.benefit, found.benefit),
        _combining_difference(wanted.combines, found.combines),
        _end_difference(wanted.ends_at, found.ends_at),
        None if found.usage_limit == 1 else "it can be used more than once",
        _person_difference(wanted, found),
    ]
    return "; ".join(problem for problem in problems if problem) or None


def coupon_difference(found: Coupon | None, now: datetime) -> str | None:
    """Why nobody can use a coupon of the store's own that members were given; None when they can."""
    if found is None:
        return GONE
    if not found.is_active:
        return "it is switched off"
    if found.ends_at is not None and found.ends_at <= now:
        return "it has ended"
    if found.usage_limit is not None and (found.used_count or 0) >= found.usage_limit:
        return "it is used up"
    return None


def value_difference(wanted: CodeDraft, found: HeldValue | None) -> str | None:
    """What is wrong with store credit or a gift card that was given; None when it is as it was. Spent is not wrong."""
    if found is None:
        return GONE
    benefit = wanted.benefit
    is_same = (found.amount_minor, found.currency.upper()) == (
        benefit.amount_minor,
        (benefit.currency or "").upper(),
    )
    problems = [
        None if found.is_active else "it is switched off",
        None if is_same else "it gives something else",
        _end_difference(wanted.ends_at, found.ends_at),
    ]
    return "; ".join(problem for problem in problems if problem) or None


def can_be_repaired(difference: str) -> bool:
    """False for what the store cannot undo."""
    return difference != USED


def same_benefit(wanted: Benefit, found: Benefit) -> bool:
    """True when both give the same under the same condition."""
    if wanted.kind is not found.kind or (wanted.minimum_minor or 0) != (found.minimum_minor or 0):
        return False
    if wanted.kind is BenefitKind.PERCENTAGE:
        return wanted.basis_points == found.basis_points
    if wanted.kind is BenefitKind.AMOUNT:
        same_currency = (wanted.currency or "").upper() == (found.currency or wanted.currency or "").upper()
        return wanted.amount_minor == found.amount_minor and same_currency
    return True


def _reach_difference(wanted: Benefit, found: Benefit) -> str | None:
    """Which goods and orders it counts for; the order of ids means nothing."""
    if set(wanted.product_external_ids) != set(found.product_external_ids) or set(
        wanted.collection_external_ids
    ) != set(found.collection_external_ids):
        return "it counts for other products"
    if wanted.first_time_only is found.first_time_only:
        return None
    return "it counts for every order" if wanted.first_time_only else "it counts for first orders only"


def _combining_difference(wanted: bool, found: bool | None) -> str | None:
    if found is None or wanted is found:
        return None
    return "it cannot be combined" if wanted else "it can be combined with other discounts"


def _end_difference(wanted: datetime, found: datetime | None) -> str | None:
    if found is None:
        return "it does not end"
    if abs(found - wanted) <= _SAME_TIME:
        return None
    return "it ends too early" if found < wanted else "it ends too late"


def _person_difference(wanted: CodeDraft, found: Coupon) -> str | None:
    """A platform binds a code to a customer or to an e-mail; either is enough, but it must be this person's."""
    if wanted.binding is Binding.OPEN:
        return "only one customer can use it" if found.customer_external_ids or found.emails else None
    if not found.customer_external_ids and not found.emails:
        return "anybody can use it"
    by_customer = not found.customer_external_ids or found.customer_external_ids == (
        wanted.customer_external_id,
    )
    email = (wanted.email or "").lower()
    by_email = not found.emails or tuple(given.lower() for given in found.emails) == (email,)
    return None if by_customer and by_email else "it belongs to somebody else"
