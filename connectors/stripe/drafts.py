"""What a draft becomes on Stripe: a coupon for the reward's version, a promotion code for the grant. Pure.

A minimum, "first order only" and the customer belong to the promotion code; what is given, and on which products, to
the coupon. Source: docs.stripe.com/api/coupons, docs.stripe.com/api/promotion_codes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from stripe.params import (
    CouponCreateParams,
    PromotionCodeCreateParams,
    PromotionCodeCreateParamsRestrictions,
)

from connectors.base import Capability, StoreOptions
from connectors.stripe import mapping
from connectors.stripe.mapping import CouponObject, PromotionCode
from rewards.errors import RefusedError
from rewards.money import exponent
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft

KEY, REWARD = "perennial_key", "perennial_reward"  # in the metadata of what we make
RATES = "currency_rates"  # the setting: "USD=1.10, GBP=0.86", units of each for one of the store's currency

EXPLAINS: Mapping[Capability | Binding, str] = {
    Binding.BOUND: (
        "Only the member's own Customer can use the code, once; it works only where your site opens Checkout with that "
        "customer (not in payment links and not for guests)."
    ),
    Binding.OPEN: (
        "Whoever holds the code can use it, once: also guests and in payment links. It cannot be guessed, but it can "
        "be passed on."
    ),
    Capability.STORE_CREDIT: (
        "Stripe has no store credit that a shopper could spend at its Checkout: give an amount or a percentage."
    ),
    Capability.GIFT_CARDS: "Stripe has no gift cards: give an amount or a percentage.",
    Capability.CODES_FOR_GUESTS: (
        "Stripe cannot bind a code to an e-mail address: somebody without a Customer can only get an open code."
    ),
    Capability.FREE_SHIPPING: "Stripe has no free-shipping codes; choose a percentage or an amount.",
    Capability.FREE_PRODUCT: (
        "Stripe cannot give one product for free; choose 100 % or an amount, limited to that product."
    ),
    Capability.LIMIT_TO_COLLECTIONS: "Stripe knows products and no collections; name the products.",
    Capability.COMBINES: "Stripe's Checkout takes one discount per order; no code combines with another.",
    Capability.SHARED_LIMIT_PER_CUSTOMER: (
        "Stripe cannot limit a shared code to once per customer; it can limit how often it is used in all, and to "
        "customers who never paid before."
    ),
    Capability.CODE_RETURNS_ON_CANCEL: (
        "A used code stays used on Stripe, also when the order is refunded; it is given back as a new code."
    ),
}

_LACKING = {
    BenefitKind.FREE_SHIPPING: Capability.FREE_SHIPPING,
    BenefitKind.FREE_PRODUCT: Capability.FREE_PRODUCT,
    BenefitKind.STORE_CREDIT: Capability.STORE_CREDIT,
    BenefitKind.GIFT_CARD: Capability.GIFT_CARDS,
}
_LONGEST_NAME = 40
# A draft's title may end in its occasion, "Birthday (birthday:2027)"; a coupon serves all of them.
_OCCASION = re.compile(r"\s*\([^()]*\)$")
_RATE = re.compile(r"\s*([A-Za-z]{3})\s*=\s*([0-9]{1,7}(?:\.[0-9]{1,9})?)\s*")


def cannot_give(draft: CodeDraft) -> str | None:
    """Why Stripe cannot hold this code, in words for the merchant; None when it can."""
    kind, benefit = draft.benefit.kind, draft.benefit
    if kind in _LACKING:
        return EXPLAINS[_LACKING[kind]]
    if kind is BenefitKind.OTHER:
        return "Stripe codes give a percentage or an amount; choose one of them for this reward."
    if benefit.collection_external_ids:
        return EXPLAINS[Capability.LIMIT_TO_COLLECTIONS]
    if draft.binding is Binding.BOUND and draft.customer_external_id is None:
        return "A bound code needs a Customer on Stripe, and this member has none; give the reward's codes as open ones."
    return None


def customer_of(draft: CodeDraft) -> str | None:
    """The Customer that alone can use the code; None for an open one."""
    return draft.customer_external_id if draft.binding is Binding.BOUND else None


# -- the coupon ------------------------------------------------------------------------------------------------------


def coupon_id(reward_key: str) -> str:
    """The id of a reward version's coupon: the same each time, so there is never a second one."""
    return "perennial-" + hashlib.sha256(reward_key.encode()).hexdigest()[:24]


def coupon_params(draft: CodeDraft, external_id: str, options: StoreOptions) -> CouponCreateParams:
    """The coupon of the draft's reward. Raises RefusedError for rates that cannot be read."""
    benefit = draft.benefit
    params: CouponCreateParams = {
        "id": external_id,
        "name": _OCCASION.sub("", draft.title)[:_LONGEST_NAME],
        "duration": "once",
        "metadata": {REWARD: draft.reward_key[:500]},
    }
    if benefit.basis_points is not None:
        params["percent_off"] = benefit.basis_points / 100
    elif benefit.amount_minor is not None and benefit.currency is not None:
        params["amount_off"] = mapping.stripe_amount(benefit.amount_minor, benefit.currency.upper())
        params["currency"] = benefit.currency.lower()
        if others := other_amounts(benefit.amount_minor, benefit.currency, options):
            params["currency_options"] = {name: {"amount_off": off} for name, off in others.items()}
    if benefit.product_external_ids:
        params["applies_to"] = {"products": list(benefit.product_external_ids)}
    return params


def gives(coupon: CouponObject, benefit: Benefit) -> bool:
    """True if the coupon gives what the benefit says; a minimum and the like belong to the promotion code."""
    held = mapping.benefit_of(coupon)
    same_products = set(held.product_external_ids) == set(benefit.product_external_ids)
    if held.kind is not benefit.kind or not same_products:
        return False
    if benefit.kind is BenefitKind.PERCENTAGE:
        return held.basis_points == benefit.basis_points
    same_currency = (held.currency or "").upper() == (benefit.currency or "").upper()
    return held.amount_minor == benefit.amount_minor and same_currency


def missing_amounts(coupon: CouponObject, benefit: Benefit, options: StoreOptions) -> dict[str, int]:
    """Amounts in further currencies, by Stripe's name, that the coupon lacks or has differently."""
    if benefit.amount_minor is None or benefit.currency is None:
        return {}
    held = coupon.currency_options or {}
    wanted = other_amounts(benefit.amount_minor, benefit.currency, options)
    return {name: off for name, off in wanted.items() if name not in held or held[name].amount_off != off}


# -- the promotion code ----------------------------------------------------------------------------------------------


def code_params(draft: CodeDraft, coupon: str, key: str, options: StoreOptions) -> PromotionCodeCreateParams:
    """The promotion code of the draft. Raises RefusedError for rates that cannot be read."""
    params: PromotionCodeCreateParams = {
        "promotion": {"type": "coupon", "coupon": coupon},
        "code": draft.code,
        "max_redemptions": 1,
        "expires_at": int(draft.ends_at.timestamp()),
        "metadata": {KEY: key, REWARD: draft.reward_key[:500]},
    }
    if customer := customer_of(draft):
        params["customer"] = customer
    restrictions: PromotionCodeCreateParamsRestrictions = {}
    if minimum := draft.benefit.minimum_minor:
        currency = draft.benefit.currency or options.currency
        restrictions["minimum_amount"] = mapping.stripe_amount(minimum, currency.upper())
        restrictions["minimum_amount_currency"] = currency.lower()
        if others := other_amounts(minimum, currency, options):
            restrictions["currency_options"] = {
                name: {"minimum_amount": amount} for name, amount in others.items()
            }
    if draft.benefit.first_time_only:
        restrictions["first_time_transaction"] = True
    if restrictions:
        params["restrictions"] = restrictions
    return params


def is_as_drafted(code: PromotionCode, draft: CodeDraft, coupon: str, options: StoreOptions) -> bool:
    """True if it says what a new one would, and is not used."""
    wanted = code_params(draft, coupon, "", options)
    restrictions = wanted.get("restrictions", {})
    return (
        code.times_redeemed == 0
        and code.code.upper() == draft.code.upper()
        and code.customer == customer_of(draft)
        and code.expires_at == wanted["expires_at"]
        and code.max_redemptions == 1
        and code.restrictions.minimum_amount == restrictions.get("minimum_amount")
        and code.restrictions.first_time_transaction == restrictions.get("first_time_transaction", False)
        and mapping.coupon_id_of(code) == coupon
    )


def idempotency_key(key: str, params: PromotionCodeCreateParams, attempt: int) -> str:
    """Names the request and all it asks for: Stripe refuses a key that comes back with other parameters."""
    asked = json.dumps([key, params, attempt], sort_keys=True)
    return "perennial-" + hashlib.sha256(asked.encode()).hexdigest()


def is_ours(code: PromotionCode) -> bool:
    """True for a code that a Perennial has made."""
    return KEY in (code.metadata or {})


# -- further currencies ----------------------------------------------------------------------------------------------


def other_amounts(amount_minor: int, currency: str, options: StoreOptions) -> dict[str, int]:
    """The amount in the currencies that the merchant gave fixed rates for, as Stripe counts and names them.

    Rates start from the store's currency; an amount in another one has no others. Raises RefusedError.
    """
    if currency.upper() != options.currency.upper():
        return {}
    amount = Decimal(amount_minor).scaleb(-exponent(currency))
    found = {}
    for other, rate in _rates(options.settings.get(RATES, "")).items():
        minor = (amount * rate).scaleb(exponent(other)).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        if other != currency.upper():
            found[other.lower()] = mapping.stripe_amount(max(1, int(minor)), other)
    return found


def problem(settings: Mapping[str, str]) -> str | None:
    """What is wrong with the merchant's rates; None when they can be used."""
    try:
        _rates(settings.get(RATES, ""))
    except RefusedError as refusal:
        return str(refusal)
    return None


def _rates(text: str) -> dict[str, Decimal]:
    """ "USD=1.10, GBP=0.86" by currency in capitals."""
    found = {}
    for part in text.split(","):
        if not part.strip():
            continue
        given = _RATE.fullmatch(part)
        try:
            rate = Decimal(given[2]) if given else Decimal(0)
        except InvalidOperation:
            rate = Decimal(0)
        if given is None or not rate:
            raise RefusedError(
                f"The store's setting {RATES} cannot be read; write it like USD=1.10, GBP=0.86.",
                code="bad_setting",
            )
        found[given[1].upper()] = rate
    return found
