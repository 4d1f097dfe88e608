"""`perennial connect PLATFORM`: installs a store, or gives a known one new credentials, and reads its history."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping, Sequence

import click

from app import output
from app.commands.base import json_option, with_services
from app.commands.stores import read_history
from connectors.base import InstallOption
from rewards.errors import PlatformError
from storage import programs
from storage.overview import StoreOverview, overview
from sync.install import SETTING, Connected
from sync.install import connect as install
from sync.services import Services

ENVIRONMENT = "PERENNIAL_CONNECT_"
FROM_INPUT = "-"


class Platforms(click.Group):
    """One subcommand per platform that has a folder, made from what its installation asks for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The platforms' names."""
        from app.wiring import load_connectors

        return sorted(load_connectors())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand of a platform."""
        from app.wiring import load_connectors

        connector = load_connectors().get(name)
        return None if connector is None else _subcommand(name, connector.install.options)


@click.group(cls=Platforms)
def connect() -> None:
    """Connect a store, or give a connected one a new key.

    A secret may stand in the environment (PERENNIAL_CONNECT_KEY for --key), come from standard input (`--key -` reads
    one line), or be typed at the prompt, where it does not show. A flag's value shows in the list of processes.
    """


def _subcommand(platform: str, options: Sequence[InstallOption]) -> click.Command:
    parameters: list[click.Parameter] = [
        click.Option([f"--{option.flag}"], help=_help(option), metavar=_metavar(option)) for option in options
    ]

    def callback(
        program: int | None,
        moved_from: int | None,
        setting: tuple[str, ...],
        no_sync: bool,
        as_json: bool,
        **given: str | None,
    ) -> None:
        answers = _answers(options, given) | _settings(setting)
        _connect(platform, answers, program, moved_from, no_sync, as_json)

    made = click.Command(
        platform, callback=callback, params=parameters, help=f"Connect a store of the platform {platform}."
    )
    made = click.option("--no-sync", is_flag=True, help="Leave reading the history to `perennial sync`.")(
        made
    )
    made = click.option(
        "--setting", multiple=True, metavar="KEY=VALUE", help="A setting of the store; may be repeated."
    )(made)
    made = click.option(
        "--moved-from",
        type=int,
        metavar="STORE",
        help="The store that has moved to this address: everything of it stays.",
    )(made)
    made = click.option(
        "--program", type=int, metavar="ID", help="Join this program instead of starting one."
    )(made)
    return json_option(made)


def _help(option: InstallOption) -> str:
    said = option.help.rstrip(".")
    return f"{said}. [required]" if option.is_required else f"{said}."


def _metavar(option: InstallOption) -> str:
    return "SECRET" if option.is_secret else "TEXT"


def _answers(options: Sequence[InstallOption], given: Mapping[str, str | None]) -> dict[str, str]:
    """What was given by flag, environment, standard input or at the prompt. Raises click.UsageError."""
    answers = {}
    for option in options:
        name = option.flag.replace("-", "_")
        value = given.get(name)
        if value is None:
            value = os.environ.get(ENVIRONMENT + name.upper()) or None
        if value == FROM_INPUT:
            value = _line_of_input(option)
        if value is None and option.is_required:
            value = _prompt(option)
        if value is not None:
            answers[option.flag] = value
    return answers


def _line_of_input(option: InstallOption) -> str:
    line = sys.stdin.readline().strip()
    if not line:
        raise click.UsageError(f"--{option.flag} - reads a line of standard input, and there is none.")
    return line


def _prompt(option: InstallOption) -> str:
    if not sys.stdin.isatty():
        variable = ENVIRONMENT + option.flag.replace("-", "_").upper()
        raise click.UsageError(
            f"--{option.flag} is missing: give it, set {variable}, or write it to standard input with --{option.flag} -"
        )
    question = f"{option.help.rstrip('.')}: "
    value = ""
    while not value:
        if option.is_secret:
            value = getpass.getpass(question).strip()
        else:
            value = str(click.prompt(question, prompt_suffix="", err=True)).strip()
    return value


def _settings(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--setting takes KEY=VALUE, not {text!r}.")
        found[SETTING + key.strip()] = value
    return found


@with_services
async def _connect(
    services: Services,
    platform: str,
    answers: Mapping[str, str],
    program_id: int | None,
    moved_from: int | None,
    no_sync: bool,
    as_json: bool,
) -> None:
    if services.allow_private_hosts:
        answers = {**answers, "allow-private-hosts": "1"}
    if program_id is not None:
        async with services.database.transaction() as connection:
            await programs.by_id(connection, program_id)
    made = await install(services, platform, answers, program_id=program_id, moved_from=moved_from)
    if program_id is not None and made.store.program_id != program_id:
        output.notice(f"The store was in program {made.store.program_id} before, and stays there.")
    if not as_json:
        _greet(made)
    counts: Mapping[str, int] = {}
    if not no_sync:
        try:
            counts = await read_history(services, made.store)
        except PlatformError as error:
            raise click.ClickException(
                f"The store is connected as number {made.store.id}, and its history is not complete: {error} "
                f"`perennial sync {made.store.id}` goes on with it."
            ) from None
    if as_json:
        output.document(_document(made, None if no_sync else counts))
        return
    async with services.database.transaction() as connection:
        (now,) = await overview(connection, services.clock(), made.store.id)
    _next_steps(made, now, no_sync)


def _document(made: Connected, counts: Mapping[str, int] | None) -> dict[str, object]:
    store = made.store
    return {
        "store": {
            "id": store.id,
            "program_id": store.program_id,
            "platform": store.platform,
            "external_id": store.external_id,
            "name": store.name,
            "currency": store.currency,
            "time_zone": store.time_zone,
            "status": store.status,
        },
        "is_new": made.is_new,
        "former": made.former,
        "webhook_address": made.webhook_address,
        "webhook_note": made.webhook_note,
        "notices": list(store.notices),
        "read": counts,
    }


def _greet(made: Connected) -> None:
    store = made.store
    verb = "Connected" if made.is_new else "Connected again, with the new credentials:"
    output.say(f"{verb} {store.name} ({store.platform}) as store {store.id}.")
    if made.former is not None:
        output.say(f"It was at {made.former} before: its members, points and codes came along.")
    output.say(f"It sells in {store.currency} and lives in the time zone {store.time_zone}.")
    if made.webhook_note:
        output.notice(made.webhook_note)
    elif made.webhook_address:
        output.say("Webhooks are set up: changes come by themselves while `perennial serve` runs.")
    for said in store.notices:
        output.notice(said)


def _next_steps(made: Connected, now: StoreOverview, no_sync: bool) -> None:
    number = made.store.id
    if no_sync:
        output.say(f"Nothing was read. Next: perennial sync {number}")
        return
    counts = (
        output.count(now.customers, "customer"),
        output.count(now.guests, "guest"),
        output.count(now.orders, "order"),
        output.count(now.coupons, "coupon"),
    )
    output.say(f"Perennial knows its {', '.join(counts)} now. No points have moved.")
    if made.is_new:
        output.say(
            f"\nNext: perennial backfill preview {number}   what points for past actions would come to"
        )
        output.say(f"      perennial ways {number}               what a sign-up and an order earn")
        output.say(f"      perennial earning on {number}         award what happens from now on")
