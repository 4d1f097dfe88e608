"""What a merchant sets for a reward, and what cannot be meant."""

from __future__ import annotations

from dataclasses import dataclass

from rewards.codes import check_prefix
from rewards.errors import InvalidInputError
from rewards.records import Benefit, BenefitKind, Binding

MAX_NAME = 100
MAX_LEAD_DAYS = 90
MAX_VALIDITY_DAYS = 365
MAX_MINOR = 10**12


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """What is given, how many days before the occasion, and until how many days after it the code is good.

    Raises InvalidInputError for terms that cannot be meant.
    """

    benefit: Benefit
    lead_days: int = 0
    validity_days: int = 30
    code_prefix: str = ""
    binding: Binding = Binding.BOUND
    combines: bool = False  # may be used together with other discounts

    def __post_init__(self) -> None:
        if not 0 <= self.lead_days <= MAX_LEAD_DAYS:
            raise InvalidInputError(f"A reward comes 0 to {MAX_LEAD_DAYS} days before the occasion.")
        if not 1 <= self.validity_days <= MAX_VALIDITY_DAYS:
            raise InvalidInputError(f"A reward is good for 1 to {MAX_VALIDITY_DAYS} days.")
        check_prefix(self.code_prefix)
        _check_benefit(self.benefit)


def reward_name(text: str) -> str:
    """The name without space around it. Raises InvalidInputError when it is empty or too long."""
    name = text.strip()
    if not name or len(name) > MAX_NAME:
        raise InvalidInputError(f"A reward's name has 1 to {MAX_NAME} characters.")
    return name


def _check_benefit(benefit: Benefit) -> None:
    if benefit.kind is BenefitKind.OTHER:
        raise InvalidInputError("A reward gives a percentage, an amount or free shipping.")
    if benefit.kind is BenefitKind.PERCENTAGE and not 1 <= (benefit.basis_points or 0) <= 10_000:
        raise InvalidInputError("A percentage is more than 0 and at most 100.")
    if benefit.kind is BenefitKind.AMOUNT and (benefit.amount_minor or 0) <= 0:
        raise InvalidInputError("An amount is more than 0.")
    if benefit.kind is BenefitKind.AMOUNT and not benefit.currency:
        raise InvalidInputError("An amount needs its currency.")
    if benefit.minimum_minor is not None and benefit.minimum_minor < 0:
        raise InvalidInputError("The smallest order that the reward is good for is 0 or more.")
    if max(benefit.amount_minor or 0, benefit.minimum_minor or 0) > MAX_MINOR:
        raise InvalidInputError("No store knows so high an amount; give a smaller one.")
