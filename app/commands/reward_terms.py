"""What a reward gives: the options that say it, and the words and the document that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import click

from app import output
from rewards.errors import InvalidInputError
from rewards.money import exact_minor_units
from rewards.records import Benefit, BenefitKind, Binding
from rewards.terms import VALUE_BINDINGS, RewardTerms
from storage.coupons import StoreCoupon
from storage.rewards import RewardRow
from storage.stores import StoreRow

F = TypeVar("F", bound=Callable[..., Any])
_KINDS = "--percent, --amount, --free-shipping, --free-product, --store-credit, --gift-card or --coupon"


_NO_KIND = Benefit(BenefitKind.FREE_SHIPPING)  # stands in where nothing was chosen yet


def terms_options(command: F) -> F:
    """What is given, to whom, on what, when and for how long."""
    for option in (
        click.option("--prefix", help="What the code begins with, e.g. BDAY."),
        click.option(
            "--valid-days", type=int, help="Good until so many days after the occasion. [default: 30]"
        ),
        click.option("--lead-days", type=int, help="Given so many days before the occasion. [default: 0]"),
        click.option(
            "--combines/--alone",
            default=None,
            help="May be used together with other discounts, or not. [default: not]",
        ),
        click.option(
            "--binding",
            type=click.Choice([binding.value for binding in Binding]),
            help="bound: only the member can use the code; open: whoever holds it, once. [default: bound]",
        ),
        click.option(
            "--first-time/--any-time", default=None, help="Only for a first order, or for any. [default: any]"
        ),
        click.option(
            "--collection", multiple=True, metavar="ID", help="Only on this collection; repeatable."
        ),
        click.option("--product", multiple=True, metavar="ID", help="Only on this product; repeatable."),
        click.option("--minimum", metavar="AMOUNT", help="Only for orders from this subtotal on."),
        click.option(
            "--coupon", metavar="COUPON", help="The code of a coupon that the store has: the same for all."
        ),
        click.option(
            "--gift-card",
            metavar="AMOUNT",
            help="A gift card of the store, e.g. 10.00, for whoever holds it.",
        ),
        click.option(
            "--store-credit",
            metavar="AMOUNT",
            help="Money in the member's account with the store, e.g. 10.00.",
        ),
        click.option("--free-product", is_flag=True, help="One of the products named with --product."),
        click.option("--free-shipping", is_flag=True, help="The order is shipped for free."),
        click.option("--amount", metavar="AMOUNT", help="So much off the order, e.g. 5.00."),
        click.option("--percent", metavar="NUMBER", help="So many percent off the order, e.g. 10 or 7.5."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was said on the command line; None, False or nothing where it was not."""

    percent: str | None
    amount: str | None
    free_shipping: bool
    free_product: bool
    store_credit: str | None
    gift_card: str | None
    coupon: str | None
    minimum: str | None
    product: tuple[str, ...]
    collection: tuple[str, ...]
    first_time: bool | None
    binding: str | None
    combines: bool | None
    lead_days: int | None
    valid_days: int | None
    prefix: str | None
    all_products: bool = False


def terms_of(
    store: StoreRow, given: Given, known: RewardTerms | None, coupon: StoreCoupon | None
) -> RewardTerms:
    """What was asked for; what was not said stays as known. `coupon` is what `given.coupon` names.

    Raises InvalidInputError and click.UsageError.
    """
    before = known or RewardTerms(_NO_KIND)
    validity_days = before.validity_days if given.valid_days is None else given.valid_days
    lead_days = before.lead_days if given.lead_days is None else given.lead_days
    if coupon is not None or (known is not None and known.coupon_id is not None and not _names_a_kind(given)):
        _refuse_limits(given)
        return RewardTerms(
            before.benefit if coupon is None else coupon.benefit,
            lead_days=lead_days,
            validity_days=validity_days,
            binding=Binding.OPEN,
            coupon_id=before.coupon_id if coupon is None else coupon.id,
        )
    own = None if known is None or known.coupon_id is not None else known
    benefit = _benefit(store, given, None if own is None else own.benefit)
    if own is not None and own.benefit.is_value is not benefit.is_value:
        own = None  # what is chosen for a code means nothing for money, and the other way about
    binding = VALUE_BINDINGS.get(benefit.kind, Binding.BOUND if own is None else own.binding)
    combines = False if own is None else own.combines
    prefix = "" if benefit.is_value else before.code_prefix
    return RewardTerms(
        benefit,
        lead_days=lead_days,
        validity_days=validity_days,
        code_prefix=prefix if given.prefix is None else given.prefix.upper(),
        binding=binding if given.binding is None else Binding(given.binding),
        combines=combines if given.combines is None else given.combines,
    )


def _names_a_kind(given: Given) -> bool:
    amounts = (given.percent, given.amount, given.store_credit, given.gift_card)
    named = (*(amount is not None for amount in amounts), given.free_shipping, given.free_product)
    if sum((*named, given.coupon is not None)) > 1:
        raise click.UsageError(f"A reward gives one of {_KINDS}.")
    return any(named)


def _refuse_limits(given: Given) -> None:
    """A coupon of the store's own is made there, with its limits."""
    _names_a_kind(given)
    limits = (given.minimum, given.product, given.collection, given.first_time, given.binding, given.combines)
    if any(limits) or given.prefix:
        raise click.UsageError(
            "The store's own coupon says itself on what, for whom and with what it is good, and has its code: "
            "change it in the store, or give a reward with codes of its own."
        )


def _benefit(store: StoreRow, given: Given, known: Benefit | None) -> Benefit:
    """What was asked for; a new kind keeps the known limits that are not said anew."""
    made = _new_kind(store, given) if _names_a_kind(given) else known
    if made is None:
        raise click.UsageError(f"Say what the reward gives: {_KINDS}.")
    if known is not None and not made.is_value:
        made = replace(made, minimum_minor=known.minimum_minor, first_time_only=known.first_time_only)
        if known.minimum_minor:
            made = replace(made, currency=store.currency)
        # The products of a free product are what is given; of all else, what it counts for.
        if (known.kind is BenefitKind.FREE_PRODUCT) is (made.kind is BenefitKind.FREE_PRODUCT):
            made = replace(
                made,
                product_external_ids=known.product_external_ids,
                collection_external_ids=known.collection_external_ids,
            )
    if given.minimum is not None:
        minor = exact_minor_units(given.minimum, store.currency)
        made = replace(made, minimum_minor=minor or None, currency=store.currency)
    if given.all_products:
        made = replace(made, product_external_ids=(), collection_external_ids=())
    if given.product or given.collection:
        made = replace(made, product_external_ids=given.product, collection_external_ids=given.collection)
    return made if given.first_time is None else replace(made, first_time_only=given.first_time)


def _new_kind(store: StoreRow, given: Given) -> Benefit:
    if given.percent is not None:
        return Benefit(BenefitKind.PERCENTAGE, basis_points=_basis_points(given.percent))
    for kind, amount in (
        (BenefitKind.AMOUNT, given.amount),
        (BenefitKind.STORE_CREDIT, given.store_credit),
        (BenefitKind.GIFT_CARD, given.gift_card),
    ):
        if amount is not None:
            minor = exact_minor_units(amount, store.currency)
            return Benefit(kind, amount_minor=minor, currency=store.currency)
    if given.free_product:
        return Benefit(BenefitKind.FREE_PRODUCT)
    return Benefit(BenefitKind.FREE_SHIPPING)


def _basis_points(percent: str) -> int:
    try:
        found = Decimal(percent.removesuffix("%").strip()) * 100
        if found != found.to_integral_value():
            raise InvalidInputError("A percentage has at most two decimals.")
        return int(found)
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidInputError("A percentage is a number like 10 or 7.5.") from None


def gives(benefit: Benefit) -> str:
    """A benefit in words."""
    products = ", ".join((*benefit.product_external_ids, *benefit.collection_external_ids))
    if benefit.kind is BenefitKind.PERCENTAGE:
        said = f"{Decimal(benefit.basis_points or 0) / 100:f} % off"
    elif benefit.kind is BenefitKind.AMOUNT:
        said = f"{output.money(benefit.amount_minor or 0, benefit.currency or '')} off"
    elif benefit.is_value:
        what = "store credit" if benefit.kind is BenefitKind.STORE_CREDIT else "gift card"
        said = f"{output.money(benefit.amount_minor or 0, benefit.currency or '')} {what}"
    elif benefit.kind is BenefitKind.FREE_PRODUCT:
        said = f"a free {products}" if products else "a free product"
    else:
        said = "free shipping" if benefit.kind is BenefitKind.FREE_SHIPPING else "something else"
    if products and benefit.kind is not BenefitKind.FREE_PRODUCT:
        said += f" on {products}"
    if benefit.minimum_minor:
        said += f" from {output.money(benefit.minimum_minor, benefit.currency or '')}"
    return f"{said}, first order only" if benefit.first_time_only else said


def for_whom(terms: RewardTerms) -> str:
    """Who can use the code, and with what, in a few words."""
    if terms.coupon_id is not None:
        return "the store's coupon"
    said = "the member" if terms.binding is Binding.BOUND else "whoever holds it"
    return f"{said}, combines" if terms.combines else said


def document(reward: RewardRow) -> dict[str, object]:
    """A reward as programs get it."""
    terms = reward.terms
    return {
        "id": reward.id,
        "program_id": reward.program_id,
        "name": reward.name,
        "trigger": reward.trigger.value,
        "is_on": reward.is_on,
        "version": reward.version,
        "benefit": {**asdict(terms.benefit), "kind": terms.benefit.kind.value},
        "binding": terms.binding.value,
        "combines": terms.combines,
        "coupon_id": terms.coupon_id,
        "lead_days": terms.lead_days,
        "validity_days": terms.validity_days,
        "code_prefix": terms.code_prefix,
    }
