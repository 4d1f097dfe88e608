"""`perennial rewards`: what members get on their birthday and on the anniversary of joining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import click

from app import output
from app.commands.base import Group, json_option, store_argument, with_services, wrong_use
from rewards.errors import InvalidInputError
from rewards.money import minor_units
from rewards.occasions import Trigger
from rewards.records import Benefit, BenefitKind
from rewards.terms import RewardTerms, reward_name
from storage import rewards as queries
from storage import stores
from storage.rewards import RewardRow
from storage.stores import StoreRow
from sync.reward_changes import change_reward, create_reward
from sync.services import Services

F = TypeVar("F", bound=Callable[..., Any])
reward_argument = click.argument("reward_id", metavar="REWARD", type=int)


@click.group(cls=Group, short_help="Set up birthday and anniversary rewards.")
def rewards() -> None:
    """Set up what members get on their days; `perennial occasions run` or a worker gives it."""


def terms_options(command: F) -> F:
    """What is given, when and for how long."""
    for option in (
        click.option("--prefix", help="What the code begins with, e.g. BDAY."),
        click.option(
            "--valid-days", type=int, help="Good until so many days after the occasion. [default: 30]"
        ),
        click.option("--lead-days", type=int, help="Given so many days before the occasion. [default: 0]"),
        click.option("--minimum", metavar="AMOUNT", help="Only for orders from this subtotal on."),
        click.option("--free-shipping", is_flag=True, help="The order is shipped for free."),
        click.option("--amount", metavar="AMOUNT", help="So much off the order, e.g. 5.00."),
        click.option("--percent", metavar="NUMBER", help="So many percent off the order, e.g. 10 or 7.5."),
    ):
        command = option(command)
    return command


def _benefit(
    store: StoreRow,
    known: Benefit | None,
    percent: str | None,
    amount: str | None,
    free: bool,
    minimum: str | None,
) -> Benefit:
    """What was asked for; without a new kind the known one, perhaps with another minimum."""
    if sum((percent is not None, amount is not None, free)) > 1:
        raise click.UsageError("A reward gives one of --percent, --amount and --free-shipping.")
    made = known
    if percent is not None:
        made = Benefit(BenefitKind.PERCENTAGE, basis_points=_basis_points(percent))
    elif amount is not None:
        minor = minor_units(amount, store.currency)
        made = Benefit(BenefitKind.AMOUNT, amount_minor=minor, currency=store.currency)
    elif free:
        made = Benefit(BenefitKind.FREE_SHIPPING)
    if made is None:
        raise click.UsageError("Say what the reward gives: --percent, --amount or --free-shipping.")
    if minimum is None:
        kept = None if known is None else known.minimum_minor
        return made if kept is None else replace(made, minimum_minor=kept, currency=store.currency)
    minor = minor_units(minimum, store.currency)
    return replace(made, minimum_minor=minor or None, currency=store.currency)


def _basis_points(percent: str) -> int:
    try:
        found = Decimal(percent.removesuffix("%").strip()) * 100
        if found != found.to_integral_value():
            raise InvalidInputError("A percentage has at most two decimals.")
        return int(found)
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidInputError("A percentage is a number like 10 or 7.5.") from None


@rewards.command("list")
@store_argument
@json_option
@with_services
async def rewards_list(services: Services, store_id: int, as_json: bool) -> None:
    """List the rewards of a store's program."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        found = await queries.every(connection, store.program_id)
    if as_json:
        output.document({"store": store_id, "rewards": [document(reward) for reward in found]})
        return
    show(found)
    if not found:
        output.say(
            f'No rewards yet: perennial rewards add {store_id} --name "Birthday gift" --trigger birthday --percent 10'
        )


def show(found: list[RewardRow]) -> None:
    """A table of rewards."""
    rows = [
        (
            str(reward.id),
            reward.name,
            reward.trigger.value,
            gives(reward.terms.benefit),
            f"{reward.terms.lead_days} days before",
            f"{reward.terms.validity_days} days after",
            reward.terms.code_prefix,
            "on" if reward.is_on else "off",
            f"v{reward.version}",
        )
        for reward in found
    ]
    columns = [
        ">Reward",
        "Name",
        "On the day of",
        "Gives",
        "Given",
        "Good until",
        "Prefix",
        "State",
        "Version",
    ]
    output.table(columns, rows)


def gives(benefit: Benefit) -> str:
    """A benefit in words."""
    if benefit.kind is BenefitKind.PERCENTAGE:
        said = f"{Decimal(benefit.basis_points or 0) / 100:f} % off"
    elif benefit.kind is BenefitKind.AMOUNT:
        said = f"{output.money(benefit.amount_minor or 0, benefit.currency or '')} off"
    else:
        said = "free shipping" if benefit.kind is BenefitKind.FREE_SHIPPING else "something else"
    if benefit.minimum_minor:
        said += f" from {output.money(benefit.minimum_minor, benefit.currency or '')}"
    return said


def document(reward: RewardRow) -> dict[str, object]:
    """A reward as programs get it."""
    benefit = reward.terms.benefit
    return {
        "id": reward.id,
        "program_id": reward.program_id,
        "name": reward.name,
        "trigger": reward.trigger.value,
        "is_on": reward.is_on,
        "version": reward.version,
        "benefit": {
            "kind": benefit.kind.value,
            "basis_points": benefit.basis_points,
            "amount_minor": benefit.amount_minor,
            "currency": benefit.currency,
            "minimum_minor": benefit.minimum_minor,
        },
        "lead_days": reward.terms.lead_days,
        "validity_days": reward.terms.validity_days,
        "code_prefix": reward.terms.code_prefix,
    }


@rewards.command("add")
@store_argument
@click.option("--name", required=True, help="For yourself; customers see it as the coupon's title.")
@click.option("--trigger", required=True, type=click.Choice([trigger.value for trigger in Trigger]))
@terms_options
@json_option
@with_services
async def rewards_add(
    services: Services,
    store_id: int,
    name: str,
    trigger: str,
    percent: str | None,
    amount: str | None,
    free_shipping: bool,
    minimum: str | None,
    lead_days: int | None,
    valid_days: int | None,
    prefix: str | None,
    as_json: bool,
) -> None:
    """Add a reward to a store's program, switched on: each member gets a code of their own, once a year."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    with wrong_use():
        reward_name(name)
        terms = RewardTerms(
            _benefit(store, None, percent, amount, free_shipping, minimum),
            lead_days=lead_days or 0,
            validity_days=30 if valid_days is None else valid_days,
            code_prefix=(prefix or "").upper(),
        )
    made = await create_reward(
        services, store.program_id, name=name, trigger=trigger, terms=terms, actor="merchant"
    )
    _answer(
        made, as_json, "\nIt is on: workers give it when a day comes; `perennial occasions run` gives it now."
    )


@rewards.command("change")
@store_argument
@reward_argument
@click.option("--name", help="Another name.")
@terms_options
@json_option
@with_services
async def rewards_change(
    services: Services,
    store_id: int,
    reward_id: int,
    name: str | None,
    percent: str | None,
    amount: str | None,
    free_shipping: bool,
    minimum: str | None,
    lead_days: int | None,
    valid_days: int | None,
    prefix: str | None,
    as_json: bool,
) -> None:
    """Change what a reward gives from now on; codes that were given stay as they are."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        known = (await queries.by_id(connection, store.program_id, reward_id)).terms
    with wrong_use():
        terms = RewardTerms(
            _benefit(store, known.benefit, percent, amount, free_shipping, minimum),
            lead_days=known.lead_days if lead_days is None else lead_days,
            validity_days=known.validity_days if valid_days is None else valid_days,
            code_prefix=known.code_prefix if prefix is None else prefix.upper(),
        )
    made = await change_reward(
        services, store.program_id, reward_id, actor="merchant", name=name, terms=terms
    )
    _answer(made, as_json)


@rewards.command("off")
@store_argument
@reward_argument
@json_option
@with_services
async def rewards_off(services: Services, store_id: int, reward_id: int, as_json: bool) -> None:
    """Give a reward no more; codes that were given stay good."""
    await _switch(services, store_id, reward_id, False, as_json)


@rewards.command("on")
@store_argument
@reward_argument
@json_option
@with_services
async def rewards_on(services: Services, store_id: int, reward_id: int, as_json: bool) -> None:
    """Give a reward again, from today on."""
    await _switch(services, store_id, reward_id, True, as_json)


async def _switch(services: Services, store_id: int, reward_id: int, is_on: bool, as_json: bool) -> None:
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    made = await change_reward(services, store.program_id, reward_id, actor="merchant", is_on=is_on)
    _answer(made, as_json)


def _answer(made: RewardRow, as_json: bool, note: str = "") -> None:
    if as_json:
        output.document(document(made))
        return
    show([made])
    if note:
        output.say(note)
