"""Keys that name facts, and what refunds leave of an award.

An entry is unique by (program, key, round): the same fact told twice clashes with itself and changes nothing.
The SQL that awards past actions writes the same keys; tests hold the two against each other.
"""

from __future__ import annotations


def order_paid_key(store_id: int, order_external_id: str) -> str:
    """The fact that an order was paid."""
    return f"order_paid:{store_id}:{order_external_id}"


def sign_up_key(store_id: int, member_id: int) -> str:
    """The fact that a member opened an account in a store."""
    return f"sign_up:{store_id}:{member_id}"


def refund_key(store_id: int, order_external_id: str, refund_external_id: str) -> str:
    """The fact that money of an order went back by this refund."""
    return f"refund:{store_id}:{order_external_id}:{refund_external_id}"


def correction_key(store_id: int, order_external_id: str, number: int) -> str:
    """The `number`-th correction of an order's points that no refund names, counted from 0.

    A cancelled order has no refund of its own; a refund that fails after all gives points back; some platforms
    show a larger refunded sum before they show the refund. Each is the difference between what the order's entries add up to and what
    they should, so its place in the row is what names it.
    """
    return f"correction:{store_id}:{order_external_id}:{number}"


def reverses_key(entry_id: int) -> str:
    """The fact that an entry was undone; it can be only once."""
    return f"reverses:{entry_id}"


def points_left(award: int, base_minor: int, refunded_minor: int, is_cancelled: bool) -> int:
    """What stays of an award when `refunded_minor` of `base_minor` has gone back, rounded down.

    Both amounts are of one kind (both totals, or both subtotals) and in one currency. An order without amount keeps
    its award until it is cancelled. Depends on the sum of the refunds alone: in how many parts they came changes nothing.
    """
    if is_cancelled:
        return 0
    if base_minor <= 0:
        return award
    kept_minor = base_minor - min(base_minor, max(0, refunded_minor))
    return award * kept_minor // base_minor


def points_taken_back(award: int, base_minor: int, refunded_minor: int, is_cancelled: bool) -> int:
    """What refunds and cancelling took of an award, as a positive number; never more than the award."""
    return award - points_left(award, base_minor, refunded_minor, is_cancelled)
