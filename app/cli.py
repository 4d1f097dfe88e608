"""`perennial`: the command line. Exit status 0; 1 when it failed, with one line on stderr; 2 for wrong use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from app.version import version

# In the order of `perennial --help`. A module is loaded when its command is asked for: some bring a lot with them.
COMMANDS: Mapping[str, str] = {
    "demo": "app.commands.demo:demo",
    "connect": "app.commands.connect:connect",
    "stores": "app.commands.stores:stores",
    "settings": "app.commands.settings:settings",
    "sync": "app.commands.stores:sync",
    "reconcile": "app.commands.stores:reconcile",
    "ways": "app.commands.earning:ways",
    "earning": "app.commands.earning:earning",
    "program": "app.commands.earning:program",
    "backfill": "app.commands.backfill:backfill",
    "members": "app.commands.members:members",
    "activity": "app.commands.members:activity",
    "rewards": "app.commands.rewards:rewards",
    "occasions": "app.commands.occasions:occasions",
    "codes": "app.commands.codes:codes",
    "coupons": "app.commands.codes:coupons",
    "privacy": "app.commands.privacy:privacy",
    "deliveries": "app.commands.history:deliveries",
    "audit": "app.commands.history:audit",
    "serve": "app.commands.running:serve",
    "worker": "app.commands.running:worker",
    "migrate": "app.commands.running:migrate",
    "apps": "app.commands.apps:apps",
    "doctor": "app.commands.running:doctor",
}


class Perennial(click.Group):
    """Finds commands by their module and turns our errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which a merchant meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, loaded now."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; whatever Perennial raises on purpose becomes a line on stderr and exit status 1."""
        from rewards.errors import AppError, RetryLaterError

        try:
            return super().invoke(ctx)
        except RetryLaterError as error:
            raise click.ClickException(f"{' '.join(str(error).split())} Try it again later.") from None
        except AppError as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except KeyboardInterrupt:
            raise click.ClickException(
                "Stopped. What was done is kept; the same command goes on from there."
            ) from None


@click.group(cls=Perennial, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), prog_name="perennial")
def cli() -> None:
    """Rewards that come back every year, for the customers of your stores.

    Begin with `perennial connect`, then `perennial backfill preview STORE`. STORE, MEMBER, RUN and REWARD are the
    numbers that the lists show. `perennial COMMAND --help` explains a command.
    """


def main() -> None:
    """The entry point."""
    _quiet_logs()
    cli(prog_name="perennial")


def _quiet_logs() -> None:
    """Only warnings reach stderr, one plain line each; `serve` and `worker` say more."""
    import logging

    from app.logs import OneLine

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


if __name__ == "__main__":
    main()
