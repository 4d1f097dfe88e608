"""`perennial occasions run`: gives what is due and puts the codes into the stores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date

import click

from app import output
from app.commands.base import Group, json_option, with_services
from app.commands.members import DayType
from rewards.errors import PlatformError
from storage import grant_lists, stores
from storage.stores import StoreRow
from sync import occasions as rules
from sync import push
from sync.occasions import OccasionsReport, RewardRun
from sync.services import Services

_PATIENCE_SECONDS = 30.0  # with a worker that is at the store that was named


@dataclass
class _Pushed:
    """What became of one store's codes."""

    store: StoreRow
    pushed: int = 0
    failed: int = 0
    waiting: int = 0
    problem: str | None = None


@dataclass
class _Result:
    decided: OccasionsReport
    expired: int
    stores: list[_Pushed] = field(default_factory=list)

    @property
    def has_problem(self) -> bool:
        return any(pushed.problem for pushed in self.stores)


@click.group(cls=Group, short_help="Give the rewards of birthdays and anniversaries.")
def occasions() -> None:
    """Birthdays and anniversaries: give what is due."""


@occasions.command("run")
@click.option(
    "--date", "day", type=DayType(), metavar="YYYY-MM-DD", help="As if this were each store's today."
)
@click.option("--store", "store_id", type=int, metavar="STORE", help="Only in this store.")
@json_option
@click.pass_context
def occasions_run(ctx: click.Context, day: date | None, store_id: int | None, as_json: bool) -> None:
    """Give each member whose day has come their reward, and put the codes into the stores.

    Workers do this every 15 minutes by themselves. Running it again gives nothing twice.
    """
    results: list[_Result] = []
    _run(day, store_id, results)
    (result,) = results
    if as_json:
        output.document(_document(result))
    else:
        _show(result)
    ctx.exit(1 if result.has_problem else 0)


@with_services
async def _run(services: Services, day: date | None, store_id: int | None, results: list[_Result]) -> None:
    decided = await rules.run(
        services,
        today=day,
        store_id=store_id,
        patience_seconds=0.0 if store_id is None else _PATIENCE_SECONDS,
    )
    expired = await push.expire(services)
    result = _Result(decided, expired)
    async with services.database.transaction() as connection:
        due = await grant_lists.stores_with_due(connection, None if store_id is None else [store_id])
        found = [await stores.by_id(connection, number) for number in due]
    for store in found:
        result.stores.append(await _push(services, store))
    results.append(result)


async def _push(services: Services, store: StoreRow) -> _Pushed:
    """One store's codes; trouble with one store does not stop the others."""
    result = _Pushed(store)
    what, done = f"{store.name}: codes", 0
    with output.progress("put into the store") as advance:

        def show(now_done: int, _: int) -> None:
            nonlocal done
            advance(what, now_done - done)
            done = now_done

        try:
            report = await push.push_store(services, store.id, progress=show)
        except PlatformError as error:
            result.problem = str(error)
            result.pushed = done
        else:
            result.pushed, result.failed, result.problem = report.pushed, report.failed, report.skipped
    async with services.database.transaction() as connection:
        result.waiting = await grant_lists.count_waiting(connection, store.id)
    return result


def _document(result: _Result) -> dict[str, object]:
    return {
        "grants": result.decided.grants,
        "expired": result.expired,
        "busy_stores": result.decided.busy_store_ids,
        "rewards": [asdict(run) for run in result.decided.runs],
        "stores": [
            {
                "store": pushed.store.id,
                "pushed": pushed.pushed,
                "failed": pushed.failed,
                "waiting": pushed.waiting,
                "problem": pushed.problem,
            }
            for pushed in result.stores
        ],
    }


def _show(result: _Result) -> None:
    rows = [
        (
            str(run.store_id),
            run.reward_name,
            _days(run.first_on, run.last_on),
            run.grants,
            run.days_let_go or "",
        )
        for run in result.decided.runs
    ]
    output.table([">Store", "Reward", "Days looked at", ">Given", ">Days too long ago"], rows)
    if not rows:
        output.say("No reward is on: `perennial rewards add` makes one.")
    for run in result.decided.runs:
        if note := _left_out(run):
            output.say(f"\nStore {run.store_id}, {run.reward_name}: {note}")
    for number in result.decided.busy_store_ids:
        output.say(f"Store {number} is being looked after by another process, which gives what is due there.")
    if result.expired:
        output.say(f"{output.count(result.expired, 'code')} ran out unused.")
    for pushed in result.stores:
        output.say(f"\n{_said(pushed)}")
    if rows and not result.stores:
        output.say("\nNo code had to be put into a store.")


def _left_out(run: RewardRun) -> str | None:
    if run.left_out is not None:
        return f"nobody gets it there. {run.left_out}"
    if run.without_account:
        return (
            f"{output.count(run.without_account, 'member')} without an account in the store got nothing, because it "
            "can be given to accounts only; a code with `perennial rewards change … --binding open` would reach them."
        )
    return None


def _days(first: date | None, last: date | None) -> str:
    if first is None or last is None:
        return "none: up to date"
    return str(first) if first == last else f"{first} to {last}"


def _said(pushed: _Pushed) -> str:
    name, number = pushed.store.name, pushed.store.id
    said = f"{name}: {output.count(pushed.pushed, 'code')} put into the store."
    if pushed.failed:
        said += f" {output.count(pushed.failed, 'code')} refused: perennial codes {number} --state failed"
    if pushed.problem:
        return f"{said} {output.count(pushed.waiting, 'code')} wait: {pushed.problem}"
    if pushed.waiting:
        said += f" {output.count(pushed.waiting, 'code')} wait for their day."
    return said
