"""`perennial rewards`: what members get on their birthday and on the anniversary of joining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from app import output
from app.commands.base import Group, json_option, store_argument, with_services, wrong_use
from app.commands.reward_terms import Given, document, for_whom, gives, terms_of, terms_options
from rewards.errors import InvalidInputError
from rewards.occasions import Trigger
from rewards.terms import RewardTerms, reward_name
from storage import coupons, stores
from storage import rewards as queries
from storage.coupons import StoreCoupon
from storage.rewards import RewardRow
from sync.abilities import StoreNote, notes_for
from sync.reward_changes import change_reward, create_reward
from sync.services import Services

reward_argument = click.argument("reward_id", metavar="REWARD", type=int)


@click.group(cls=Group, short_help="Set up birthday and anniversary rewards.")
def rewards() -> None:
    """Set up what members get on their days; `perennial occasions run` or a worker gives it."""


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
    for reward in (reward for reward in found if reward.is_on):
        for note in await _notes(services, store.program_id, reward.terms):
            if note.is_left_out:
                output.say(f"\n{reward.name}: nobody gets it in {note.store_name}. {note.note}")
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
            for_whom(reward.terms),
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
        "Code is for",
        "Given",
        "Good until",
        "Prefix",
        "State",
        "Version",
    ]
    output.table(columns, rows)


@rewards.command("add")
@store_argument
@click.option("--name", required=True, help="For yourself; customers see it as the coupon's title.")
@click.option("--trigger", required=True, type=click.Choice([trigger.value for trigger in Trigger]))
@terms_options
@json_option
@with_services
async def rewards_add(
    services: Services, /, store_id: int, name: str, trigger: str, as_json: bool, **options: Any
) -> None:
    """Add a reward to a store's program, switched on: once a year each member gets a code of their own.

    With --coupon all get the code of a coupon that the store has; `perennial coupons STORE` lists them.
    """
    given = Given(**options)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
    coupon = await _coupon(services, store_id, given.coupon)
    with wrong_use():
        reward_name(name)
        terms = terms_of(store, given, None, coupon)
    made = await create_reward(
        services, store.program_id, name=name, trigger=trigger, terms=terms, actor="merchant"
    )
    note = "It is on: workers give it when a day comes; `perennial occasions run` gives it now."
    _answer(made, as_json, await _notes(services, store.program_id, terms), note)


@rewards.command("change")
@store_argument
@reward_argument
@click.option("--name", help="Another name.")
@terms_options
@click.option("--all-products", is_flag=True, help="On all products and collections again.")
@json_option
@with_services
async def rewards_change(
    services: Services, /, store_id: int, reward_id: int, name: str | None, as_json: bool, **options: Any
) -> None:
    """Change what a reward gives from now on; codes that were given stay as they are."""
    given = Given(**options)
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        known = (await queries.by_id(connection, store.program_id, reward_id)).terms
    coupon = await _coupon(services, store_id, given.coupon)
    with wrong_use():
        terms = terms_of(store, given, known, coupon)
    made = await change_reward(
        services, store.program_id, reward_id, actor="merchant", name=name, terms=terms
    )
    _answer(made, as_json, await _notes(services, store.program_id, terms))


async def _coupon(services: Services, store_id: int, name: str | None) -> StoreCoupon | None:
    """The store's own coupon of this name, if members can be given its code. Raises NotFoundError, InvalidInputError."""
    if name is None:
        return None
    async with services.database.transaction() as connection:
        coupon = await coupons.by_name(connection, store_id, name)
    if coupon.code is None:
        raise InvalidInputError(
            f"The coupon {name} has no code that customers could type; make one for it in the store."
        )
    if coupon.is_ours:
        raise InvalidInputError(f"The code {coupon.code} was given to one member; choose another coupon.")
    if reason := coupon.why_not_now(services.clock()):
        raise InvalidInputError(reason)
    return coupon


async def _notes(services: Services, program_id: int, terms: RewardTerms) -> list[StoreNote]:
    async with services.database.transaction() as connection:
        return await notes_for(services, connection, program_id, terms)


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


def _answer(made: RewardRow, as_json: bool, notes: Sequence[StoreNote] = (), note: str = "") -> None:
    if as_json:
        output.document(document(made) | {"notes": [asdict(one) for one in notes]})
        return
    show([made])
    for one in notes:
        left_out = "Nobody gets it there. " if one.is_left_out else ""
        output.say(f"\n{one.store_name}: {left_out}{one.note}")
    if note:
        output.say(f"\n{note}")
