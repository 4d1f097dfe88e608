"""When a code that was used is given back: by the platform itself, or by us with a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rewards.errors import InvalidInputError

SETTING = "returns"  # of a store


class Returns(StrEnum):
    """After what a merchant gives a member a new code, where the platform keeps the old one used."""

    NEVER = "never"
    ON_CANCEL = "on_cancel"
    ON_FULL_REFUND = "on_full_refund"  # and on a cancelled order


@dataclass(frozen=True, slots=True)
class CodeReturns:
    """`by_platform`: a cancelled order makes its code usable again. `renewed`: after what we give a new one.

    Whatever the merchant chose, an order that was cancelled and never paid did not use its code.
    """

    by_platform: bool
    renewed: Returns = Returns.NEVER

    def values(self) -> dict[str, object]:
        """As values of a query."""
        return {"by_platform": self.by_platform, "renewed": self.renewed.value}


def returns_setting(settings: Mapping[str, str]) -> Returns:
    """The merchant's choice; never, without one. Raises InvalidInputError for a word that is none."""
    given = settings.get(SETTING, Returns.NEVER)
    if given not in set(Returns):
        raise InvalidInputError(f"Codes are given back {', '.join(Returns)}; {given!r} is none of these.")
    return Returns(given)
