"""`perennial apps`: the operator's own apps at the platforms, looked at and set up there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from app import output
from app.commands.base import DefaultGroup, json_option, run
from connectors.apps import AppFinding
from rewards.errors import InvalidInputError


@click.group(
    cls=DefaultGroup,
    default="list",
    no_args_is_help=False,
    short_help="Look at your apps at the platforms, or set them up.",
)
def apps() -> None:
    """Your own apps at the platforms (PERENNIAL_APPS__…): `apps` looks at them, `apps setup PLATFORM` sets one up."""


@apps.command("list")
@json_option
@click.pass_context
def apps_list(ctx: click.Context, as_json: bool) -> None:
    """Say how your apps stand at the platforms. `perennial doctor` looks at them too."""
    from app.operators import look_at, with_apps
    from app.settings import load_settings

    settings = load_settings()
    looks = run(look_at(settings, with_apps(settings)))
    findings = [finding for each in looks for finding in each.findings]
    is_well = all(each.ok for each in findings)
    if as_json:
        output.document({"ok": is_well, "findings": [asdict(each) for each in findings]})
    elif findings:
        _show(findings)
    else:
        output.say("No app is set up that could be looked at; extensions/<platform>/README.md says how to.")
    ctx.exit(0 if is_well else 1)


@apps.command("setup")
@click.argument("platform")
@json_option
@click.pass_context
def apps_setup(ctx: click.Context, platform: str, as_json: bool) -> None:
    """Make at the platform what your app needs there, with the app's own key; what is right is left alone.

    Prints the settings that have to be made then, signing secrets among them: they are told this once.
    """
    from app.operators import look_at, with_apps
    from app.settings import APPS, load_settings

    settings = load_settings()
    if platform not in with_apps(settings):
        raise InvalidInputError(
            f"There is no app of {platform} to set up: no setting {APPS}{platform.upper()}__… is made, or there is "
            "nothing to make there."
        )
    (found,) = run(look_at(settings, [platform], make=True))
    is_well = all(each.ok for each in found.findings)
    told = {name: value.reveal() for name, value in found.to_set.items()}
    if as_json:
        output.document(
            {"ok": is_well, "findings": [asdict(each) for each in found.findings], "settings": told}
        )
    else:
        _show(found.findings)
        if told:
            output.say("\nSet these, where nobody else sees them, and restart Perennial:")
        for name, value in told.items():
            click.echo(f"{name}={value}")
    ctx.exit(0 if is_well or told else 1)


def _show(findings: Sequence[AppFinding]) -> None:
    rows = [("ok" if each.ok else "WRONG", each.name, each.detail) for each in findings]
    output.table(["", "What", "How it stands"], rows)
