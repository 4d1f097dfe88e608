"""`perennial backfill`: points for past actions, previewed, confirmed, run and undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from app import output
from app.commands.base import Group, ask, json_option, store_argument, with_services, yes_option
from app.commands.earning import earns
from rewards.earning import WayKind
from storage import backfill as runs
from storage import backfill_sizes, programs, stores
from storage.backfill import RunRow
from storage.jobs import count_workers
from sync import backfill as past_actions
from sync.kinds import Kind
from sync.services import Services
from sync.subscriptions import notices

run_argument = click.argument("run_id", metavar="RUN", type=int)
background_option = click.option(
    "--background",
    is_flag=True,
    help="Leave it to a worker (`perennial serve` or `worker`) and return at once.",
)

LEFT_OUT = {
    "already_awarded": "awarded before",
    "unpaid": "not paid",
    "test_orders": "test orders",
    "nobody": "no customer and no e-mail",
    "other_currency": "in another currency than the program's",
    "worth_nothing": "too small for a point",
}


@click.group(cls=Group, short_help="Points for past actions: preview, confirm, undo.")
def backfill() -> None:
    """Reward past actions: preview what they would earn, confirm, and undo if it was wrong."""


@backfill.command()
@store_argument
@json_option
@with_services
async def preview(services: Services, store_id: int, as_json: bool) -> None:
    """Count what past sign-ups and orders would earn now. Moves no points.

    Only ways to earn that are enabled count. Members get both, guests only what their orders earn.
    """
    run = await past_actions.preview(services, store_id, actor="merchant")
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        program = await programs.by_id(connection, run.program_id)
        found = await programs.ways(connection, run.program_id)
    if as_json:
        output.document(document(run) | {"notices": notices(services, store)})
        return
    output.say(f"Points for past actions in {store.name}:")
    output.say()
    rows: list[tuple[object, ...]] = []
    for kind in (WayKind.SIGN_UP, WayKind.PLACE_ORDER):
        stored, counted = found.get(kind), run.preview["ways"].get(kind.value)
        if stored is None or counted is None:
            rows.append((kind.value, "switched off", "", "", "", "", "", 0))
        else:
            rows.append((kind.value, earns(stored.way, program.currency), *_figures(kind, counted)))
    output.table(
        ["Way to earn", "Earns", ">Members", ">Guests", ">Orders", ">Awarded", ">Refunded", ">Points"], rows
    )
    output.say(f"\n{output.count(run.preview['points'], 'point')} in all.")
    _show_left_out(run)
    for notice in notices(services, store):  # what the store keeps from us cannot be counted
        output.say(f"\n{notice}")
    output.say(f"\nNothing has moved yet. To award it: perennial backfill confirm {run.id}")


def _figures(kind: WayKind, counted: Mapping[str, Any]) -> tuple[object, ...]:
    if kind is WayKind.SIGN_UP:
        return counted["customers"], "", "", counted["points"], "", counted["points"]
    taken = -counted["taken_back"] if counted["taken_back"] else ""
    return (
        counted["customers"] - counted["guests"],
        counted["guests"],
        counted["facts"],
        counted["awarded"],
        taken,
        counted["points"],
    )


def _show_left_out(run: RunRow) -> None:
    rows = [
        (kind.replace("place_order", "orders").replace("sign_up", "sign-ups"), text, counted[reason])
        for kind, counted in sorted(run.preview["ways"].items(), reverse=True)
        for reason, text in LEFT_OUT.items()
        if counted.get(reason)
    ]
    if rows:
        output.say("\nLeft out:")
        output.table(["What", "Why", ">How many"], rows)


def document(run: RunRow) -> dict[str, object]:
    """A run as programs get it."""
    return {
        "run": run.id,
        "store": run.store_id,
        "state": run.state,
        "points": run.preview["points"],
        "ways": {
            kind: {name: value for name, value in counted.items() if name != "through"}
            for kind, counted in run.preview["ways"].items()
        },
        "awarded": {"entries": run.counts.get("entries", 0), "points": run.counts.get("points", 0)},
        "undone": {
            "entries": run.counts.get("undone_entries", 0),
            "points": run.counts.get("undone_points", 0),
        },
        "actor": run.actor,
        "created_at": run.created_at,
        "confirmed_at": run.confirmed_at,
        "finished_at": run.finished_at,
        "undone_at": run.undone_at,
    }


@backfill.command()
@run_argument
@background_option
@yes_option
@json_option
@with_services
async def confirm(services: Services, run_id: int, background: bool, yes: bool, as_json: bool) -> None:
    """Award what a preview counted. A run that was stopped goes on where it was."""
    async with services.database.transaction() as connection:
        run = await runs.load(connection, run_id)
        store = await stores.by_id(connection, run.store_id)
    if run.state == "previewed" and not yes:
        output.notice(
            f"{output.count(run.preview['points'], 'point')} for past actions will be awarded in {store.name}. "
            "Customers are not e-mailed."
        )
        ask("Continue?")
    if background:
        await _leave_to_worker(services, run, Kind.BACKFILL, as_json)
        return
    if run.state != "confirmed":
        async with services.database.transaction() as connection:
            run = await past_actions.confirm(services, run_id, actor="merchant", connection=connection)
    async with services.database.transaction() as connection:
        size = await backfill_sizes.left_to_look_at(connection, run)
    what = f"{store.name}: past actions"
    with output.progress("looked at", {what: size}) as advance:
        run = await past_actions.continue_run(services, run_id, progress=lambda more: advance(what, more))
    if as_json:
        output.document(document(run))
        return
    output.say(_result(run))
    output.say(f"To take all of it back: perennial backfill undo {run_id}")


def _result(run: RunRow) -> str:
    points, previewed = run.counts.get("points", 0), run.preview["points"]
    said = f"Run {run.id} is {run.state}: {output.count(points, 'point')} awarded"
    if points == previewed:
        return f"{said}, as previewed."
    return f"{said}; the preview said {output.number(previewed)}, and the store has changed since."


async def _leave_to_worker(services: Services, run: RunRow, kind: Kind, as_json: bool) -> None:
    """Hands the run to the workers; the job is deferred in the transaction that confirms it."""
    from app.settings import load_settings
    from app.wiring import open_jobs

    async with open_jobs(services) as jobs, services.database.transaction() as connection:
        if kind is Kind.BACKFILL and run.state != "confirmed":
            run = await past_actions.confirm(services, run.id, actor="merchant", connection=connection)
        await jobs.defer_in(connection, kind, run.id)
        alive, _ = await count_workers(connection, load_settings().stalled_seconds)
    if not alive:
        output.notice(
            "No worker is alive now: the run begins once `perennial serve` or `perennial worker` runs."
        )
    if as_json:
        output.document(document(run))
    else:
        output.say(
            f"Run {run.id} was handed to the workers: `perennial backfill status {run.store_id}` shows it."
        )


@backfill.command()
@store_argument
@json_option
@with_services
async def status(services: Services, store_id: int, as_json: bool) -> None:
    """List a store's runs and how far they have come."""
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        found = await runs.of_store(connection, store_id)
        left = {
            run.id: await backfill_sizes.left_to_look_at(connection, run)
            for run in found
            if run.state == "confirmed"
        }
    if as_json:
        output.document(
            {
                "store": store_id,
                "runs": [document(run) | {"left_to_look_at": left.get(run.id, 0)} for run in found],
            }
        )
        return
    rows = [
        (
            str(run.id),
            run.state,
            run.preview["points"],
            run.counts.get("points", 0),
            run.counts.get("undone_points", 0),
            left.get(run.id, 0),
            *(output.when(at, store.time_zone) for at in (run.created_at, run.finished_at, run.undone_at)),
        )
        for run in found
    ]
    columns = [
        ">Run",
        "State",
        ">Previewed",
        ">Awarded",
        ">Undone",
        ">Left",
        "Previewed at",
        "Done at",
        "Undone at",
    ]
    output.table(columns, rows, note="" if rows else f"No runs yet: perennial backfill preview {store_id}")


@backfill.command()
@run_argument
@background_option
@yes_option
@json_option
@with_services
async def undo(services: Services, run_id: int, background: bool, yes: bool, as_json: bool) -> None:
    """Take back everything that a run awarded, as one batch. The ledger keeps both."""
    async with services.database.transaction() as connection:
        run = await runs.load(connection, run_id)
        store = await stores.by_id(connection, run.store_id)
        effect = await backfill_sizes.undo_effect(connection, run)
    if run.state in ("confirmed", "done") and not yes:
        output.notice(
            f"{output.count(effect.points, 'point')} will be taken back from {output.count(effect.members, 'member')} "
            f"of {store.name}, by {output.count(effect.entries, 'ledger entry', 'ledger entries')}."
        )
        if effect.below_zero:
            output.notice(f"{output.count(effect.below_zero, 'member')} will have a balance below zero.")
        ask("Continue?")
    if background and run.state in ("confirmed", "done", "undoing"):
        await _leave_to_worker(services, run, Kind.UNDO_BACKFILL, as_json)
        return
    what = f"{store.name}: undoing"
    with output.progress("entries", {what: effect.entries}) as advance:
        run = await past_actions.undo_run(services, run_id, progress=lambda more: advance(what, more))
    if as_json:
        output.document(document(run))
        return
    undone = -run.counts.get("undone_points", 0)
    output.say(f"Run {run_id} is undone: {output.count(undone, 'point')} taken back.")
    output.say(f"To award anew, perhaps by other rules: perennial backfill preview {run.store_id}")
