"""`perennial serve`, `worker`, `migrate` and `doctor`: running the app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any

import click

from app import output
from app.commands.base import collect_seldom, json_option, run
from app.logs import OneLine
from app.settings import Settings, load_settings


@click.command(short_help="Serve the app and take webhooks.")
@click.option(
    "--no-worker", is_flag=True, help="Only the web part; `perennial worker` processes do the work."
)
@click.option("--host", help="The address to listen at. [default: PERENNIAL_HOST, or 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="[default: PERENNIAL_PORT, or 8000; 0: any free one]"
)
def serve(no_worker: bool, host: str | None, port: int | None) -> None:
    """Serve the app and take webhooks; work in the same process unless told otherwise.

    Ends on Ctrl-C or SIGTERM after what it has begun.
    """
    from app.server import serve as serve_app

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings().model_copy(update=given)
    _talk()
    _run_fast(serve_app(settings, with_worker=not no_worker))


@click.command(short_help="Handle webhooks, push codes, run what was asked for.")
def worker() -> None:
    """Work: handle webhooks, push codes, run what was asked for. Any number of workers share it.

    Ends on Ctrl-C or SIGTERM; jobs that are not finished by then go to another worker.
    """
    from app.server import work

    _talk()
    _run_fast(work(load_settings()))


def _talk() -> None:
    """Long-running processes say what happens, with the time."""
    root = logging.getLogger()
    for handler in root.handlers:
        handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def _run_fast(work: Coroutine[Any, Any, None]) -> None:
    """The loop that is made for many connections, where there is one."""
    try:
        import uvloop
    except ImportError:  # not made for this system
        run(work)
        return
    collect_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@click.command()
def migrate() -> None:
    """Bring the database's tables to what this Perennial needs."""
    run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    from storage.database import Database
    from storage.migrate import migrate as bring_up

    database = await Database.open(settings.database)
    try:
        applied = await bring_up(database)
    finally:
        await database.close()
    for name in applied:
        output.say(f"Applied {name}.")
    output.say("The tables are as this Perennial needs them.")


@click.command(short_help="Say what is wrong, and what to do.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look at everything that Perennial needs, and say what is wrong and what to do."""
    from app.health import examine

    findings = run(examine(load_settings()))
    is_well = all(found.ok for found in findings)
    if as_json:
        output.document({"ok": is_well, "findings": [asdict(found) for found in findings]})
    else:
        rows = [("ok" if found.ok else "WRONG", found.name, found.detail) for found in findings]
        output.table(["", "What", "How it stands"], rows)
        output.say("\nAll is well." if is_well else "\nSomething has to be put right.")
    ctx.exit(0 if is_well else 1)
