"""What commands share: running asynchronous work with the services open, and the arguments that many of them take."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from rewards.errors import InvalidInputError
from sync.services import Services

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs the work to its end. SIGTERM stops it as Ctrl-C does: what is committed stays, and connections close."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    collect_seldom()
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        return runner.run(work)


def collect_seldom() -> None:
    """Looks for reference cycles after fifty thousand new objects instead of seven hundred.

    A batch of an import is that many records, none of them in a cycle: looking through them again and again took a
    sixth of its processor time, and found nothing.
    """
    gc.set_threshold(50_000, 20, 50)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that is made for many connections, where there is one: a history takes thousands of requests."""
    try:
        import uvloop
    except ImportError:  # not made for this system
        return None
    return uvloop.new_event_loop


def with_services(work: Callable[Concatenate[Services, P], Awaitable[None]]) -> Callable[P, None]:
    """Makes an asynchronous function a command's: it gets the services of the environment's settings."""

    @functools.wraps(work)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        async def opened() -> None:
            from app.settings import load_settings
            from app.wiring import open_services

            async with open_services(load_settings()) as services:
                await work(services, *args, **kwargs)

        run(opened())

    return command


def json_option(command: F) -> F:
    """`--json`: one JSON document on stdout instead of a table."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")(
        command
    )


def yes_option(command: F) -> F:
    """`--yes`: answers the question."""
    return click.option("--yes", is_flag=True, help="Answer the question with yes.")(command)


@contextmanager
def wrong_use() -> Iterator[None]:
    """What the rules say of an option's value is wrong use (exit status 2), not a failure."""
    try:
        yield
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None


store_argument = click.argument("store_id", metavar="STORE", type=int)


def ask(question: str) -> None:
    """Asks on stderr and returns on yes. Raises click.ClickException otherwise, having done nothing."""
    try:
        is_yes = click.confirm(question, default=False, err=True)
    except click.Abort:
        click.echo(err=True)  # the question has no end of line of its own
        raise click.ClickException(
            "Nothing was done: the question was not answered; --yes answers it."
        ) from None
    if not is_yes:
        raise click.ClickException("Nothing was done.")


class Group(click.Group):
    """A group whose help lists the commands in the order of the module: as they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in that order."""
        return list(self.commands)


class DefaultGroup(Group):
    """A group whose name alone is a command too: `members 1` is short for `members list 1`."""

    def __init__(self, *args: Any, default: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the default command's name in where none is given; alone, where the group is no help without words."""
        if not args and not self.no_args_is_help:
            args = [self.default]
        elif args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)
