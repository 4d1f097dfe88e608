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
MAX_PRODUCTS = 100
MAX_PRODUCT_ID = 200


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """What is given, how many days before the occasion, and until how many days after it the code is good.

    With `coupon_id` (ours, of a coupon that one of the program's stores has) everybody gets that coupon's code, and
    `benefit` is what the coupon gave when it was chosen. Raises InvalidInputError for terms that cannot be meant.
    """

    benefit: Benefit
    lead_days: int = 0
    validity_days: int = 30
    code_prefix: str = ""
    binding: Binding = Binding.BOUND
    combines: bool = False  # may be used together with other discounts
    coupon_id: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.lead_days <= MAX_LEAD_DAYS:
            raise InvalidInputError(f"A reward comes 0 to {MAX_LEAD_DAYS} days before the occasion.")
        if not 1 <= self.validity_days <= MAX_VALIDITY_DAYS:
            raise InvalidInputError(f"A reward is good for 1 to {MAX_VALIDITY_DAYS} days.")
        check_prefix(self.code_prefix)
        if self.coupon_id is None:
            _check_benefit(self.benefit)
            _check_products(self.benefit)
            if self.benefit.is_value:
                _check_value(self)
        elif self.binding is not Binding.OPEN:
            raise InvalidInputError(
                "A store's own coupon is for everybody who knows its code; leave --binding out."
            )


def reward_name(text: str) -> str:
    """The name without space around it. Raises InvalidInputError when it is empty or too long."""
    name = text.strip()
    if not name or len(name) > MAX_NAME:
        raise InvalidInputError(f"A reward's name has 1 to {MAX_NAME} characters.")
    return name


def _check_benefit(benefit: Benefit) -> None:
    if benefit.kind is BenefitKind.OTHER:
        raise InvalidInputError(
            "A reward gives a percentage, an amount, free shipping, a free product, store credit or a gift card."
        )
    if benefit.kind is BenefitKind.PERCENTAGE and not 1 <= (benefit.basis_points or 0) <= 10_000:
        raise InvalidInputError("A percentage is more than 0 and at most 100.")
    has_amount = benefit.kind is BenefitKind.AMOUNT or benefit.is_value
    if has_amount and (benefit.amount_minor or 0) <= 0:
        raise InvalidInputError("An amount is more than 0.")
    if has_amount and not benefit.currency:
        raise InvalidInputError("An amount needs its currency.")
    if benefit.minimum_minor is not None and benefit.minimum_minor < 0:
        raise InvalidInputError("The smallest order that the reward is good for is 0 or more.")
    if max(benefit.amount_minor or 0, benefit.minimum_minor or 0) > MAX_MINOR:
        raise InvalidInputError("No store knows so high an amount; give a smaller one.")


# Who can use it lies in what it is.
VALUE_BINDINGS = {BenefitKind.STORE_CREDIT: Binding.BOUND, BenefitKind.GIFT_CARD: Binding.OPEN}


def _check_value(terms: RewardTerms) -> None:
    """Store credit and gift cards are money: nothing limits on what it is spent, and it has no code of the merchant's."""
    benefit = terms.benefit
    if benefit.minimum_minor or benefit.product_external_ids or benefit.collection_external_ids:
        raise InvalidInputError(
            "Store credit and gift cards pay for anything; leave --minimum, --product and --collection out."
        )
    if benefit.first_time_only or terms.combines:
        raise InvalidInputError(
            "Store credit and gift cards are good for any order, beside any discount; leave --first-time and "
            "--combines out."
        )
    if terms.code_prefix:
        raise InvalidInputError(
            "Store credit has no code, and a gift card's has no prefix; leave --prefix out."
        )
    if terms.binding is not VALUE_BINDINGS[benefit.kind]:
        raise InvalidInputError(
            "Store credit is the member's alone, and a gift card is good for whoever holds it; leave --binding out."
        )


def _check_products(benefit: Benefit) -> None:
    """Products and collections may be named together: the reward then counts for both."""
    named = (*benefit.product_external_ids, *benefit.collection_external_ids)
    if benefit.kind is BenefitKind.FREE_PRODUCT:
        if not benefit.product_external_ids:
            raise InvalidInputError("A free product needs at least one product to choose from: --product ID.")
        if benefit.collection_external_ids:
            raise InvalidInputError("A free product is one of single products; name them and no collection.")
    if benefit.kind is BenefitKind.FREE_SHIPPING and named:
        raise InvalidInputError(
            "Free shipping counts for the whole order; leave products and collections out."
        )
    if len(named) > MAX_PRODUCTS:
        raise InvalidInputError(f"A reward names at most {MAX_PRODUCTS} products and collections.")
    if len(set(benefit.product_external_ids)) + len(set(benefit.collection_external_ids)) < len(named):
        raise InvalidInputError("A product or collection is named twice; name each once.")
    if any(not one or len(one) > MAX_PRODUCT_ID or any(map(str.isspace, one)) for one in named):
        raise InvalidInputError("A product or collection is named by its id in the store, without spaces.")
