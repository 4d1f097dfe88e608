"""`perennial settings`: what a merchant chooses for one store."""

from __future__ import annotations

import click

from app import output
from app.commands.base import json_option, store_argument, with_services, wrong_use
from rewards.returns import SETTING as RETURNS
from rewards.returns import Returns
from storage import stores
from sync import store_settings
from sync.services import Services


@click.command(short_help="Show and change what is chosen for a store.")
@store_argument
@click.option(
    "--returns",
    type=click.Choice([choice.value for choice in Returns]),
    help="After what a member gets a new code for one that stays used in the store. [default: never]",
)
@click.option(
    "--write-birthdays/--keep-birthdays",
    default=None,
    help="Write birthdays that are set here into the store too, or not. [default: not]",
)
@click.option(
    "--show-points/--hide-points",
    default=None,
    help="Show members' points in their records in the store, where it can, or not any more. [default: show]",
)
@click.option(
    "--set", "given", multiple=True, metavar="KEY=VALUE", help="Another setting, e.g. birthday_key=born."
)
@json_option
@with_services
async def settings(
    services: Services,
    store_id: int,
    returns: str | None,
    write_birthdays: bool | None,
    show_points: bool | None,
    given: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show a store's settings, or change those that are named; README files of the platforms list theirs."""
    changed = _pairs(given)
    if returns is not None:
        changed[RETURNS] = returns
    if write_birthdays is not None:
        changed[store_settings.WRITE_BIRTHDAYS] = "on" if write_birthdays else "off"
    if show_points is not None:
        changed[store_settings.SHOW_POINTS] = "on" if show_points else "off"
    with wrong_use():
        store_settings.check(changed)
    if changed:
        store = await store_settings.change(services, store_id, changed, actor="merchant")
    else:
        async with services.database.transaction() as connection:
            store = await stores.by_id(connection, store_id)
    if as_json:
        output.document({"store": store_id, "settings": dict(store.settings)})
        return
    output.table(["Setting", "Value"], sorted(store.settings.items()))
    if not store.settings:
        output.say("Nothing is chosen: all is as usual.")
    if given:
        output.say(
            f"\nWhat was read before stays as it was read: `perennial sync {store_id} --full` reads it by these settings."
        )
    for note in store_settings.notes(services, store):
        output.say(f"\n{note}")


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--set takes KEY=VALUE, not {text!r}.")
        found[key.strip()] = value
    return found
