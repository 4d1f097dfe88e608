"""Rewards past actions: preview, confirm, run in chunks, undo.

The preview counts what the run will insert, with the same SQL; the run goes in chunks that commit their entries and
their place together, so it can be stopped anywhere, run twice or side by side, and ends in the same ledger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from rewards.earning import WayKind
from rewards.errors import AlreadyReversedError, InvalidInputError
from storage import audit, backfill, ledger, plans, programs, stores
from storage.backfill import RunRow
from storage.database import Connection
from storage.ledger import Written
from sync.services import Services

CHUNK = 2_000  # members or orders looked at in one transaction
UNDO_CHUNK = 5_000  # entries reversed in one transaction

Progress = Callable[[int], None]


async def preview(services: Services, store_id: int, *, actor: str) -> RunRow:
    """Counts what a run over the store's held facts would award now, and keeps that as a run to confirm.

    Only ways to earn that are enabled count. Moves no points. Raises NotFoundError.
    """
    now = services.clock()
    async with services.database.transaction() as connection:
        store = await stores.by_id(connection, store_id)
        await ledger.lock_program(connection, store.program_id)
        await plans.by_key(connection)
        enabled = {
            kind: stored
            for kind, stored in (await programs.ways(connection, store.program_id)).items()
            if stored.way.is_enabled
        }
        counted = {}
        for kind, stored in enabled.items():
            values = {"program": store.program_id, "store": store.id, "way": stored.id}
            count = backfill.preview_sign_ups if kind is WayKind.SIGN_UP else backfill.preview_orders
            counted[kind.value] = {**await count(connection, values), "rule_version_id": stored.id}
        run_id = await backfill.create(
            connection,
            store.program_id,
            store.id,
            rule_version_ids=[stored.id for stored in enabled.values()],
            preview={"points": sum(found["points"] for found in counted.values()), "ways": counted},
            actor=actor,
            now=now,
        )
        return await backfill.load(connection, run_id)


async def confirm(services: Services, run_id: int, *, actor: str, connection: Connection) -> RunRow:
    """Turns a preview into a run that may go, in the caller's transaction (which defers its job).

    Raises InvalidInputError when it was confirmed before, or when the rules are no longer those of the preview.
    """
    run = await backfill.load(connection, run_id, lock=True)
    if run.state != "previewed":
        raise InvalidInputError(f"Run {run_id} is {run.state}; make a new preview to run again.")
    current = await programs.ways(connection, run.program_id)
    enabled = sorted(stored.id for stored in current.values() if stored.way.is_enabled)
    if enabled != sorted(run.rule_version_ids):
        raise InvalidInputError(
            "The ways to earn have changed since this preview; make a new one and confirm that."
        )
    await _move(connection, run, "confirmed", {}, services.clock())
    await audit.record(
        connection,
        run.program_id,
        "backfill.confirmed",
        at=services.clock(),
        actor=actor,
        store_id=run.store_id,
        subject=f"run:{run_id}",
    )
    return await backfill.load(connection, run_id)


async def continue_run(services: Services, run_id: int, *, progress: Progress | None = None) -> RunRow:
    """Runs a confirmed run to its end, from wherever it was stopped."""
    return await _repeat(services, run_id, _award_chunk, progress)


async def undo_run(
    services: Services, run_id: int, *, actor: str = "merchant", progress: Progress | None = None
) -> RunRow:
    """Takes all of a run back: one reversing entry for each of its entries, and for what hangs on them.

    Raises AlreadyReversedError for a second time, InvalidInputError for a run that never ran.
    """

    async def begin(connection: Connection) -> None:
        run = await backfill.load(connection, run_id, lock=True)
        if run.state == "undone":
            raise AlreadyReversedError(f"Run {run_id} has been undone before; nothing was changed.")
        if run.state == "previewed":
            raise InvalidInputError(f"Run {run_id} was only previewed; there is nothing to undo.")
        if run.state != "undoing":
            await _move(connection, run, "undoing", {"entry": 0}, services.clock())
            await audit.record(
                connection,
                run.program_id,
                "backfill.undone",
                at=services.clock(),
                actor=actor,
                store_id=run.store_id,
                subject=f"run:{run_id}",
            )

    await services.database.retrying(begin)
    return await _repeat(services, run_id, _undo_chunk, progress)


_Chunk = Callable[[Connection, RunRow, datetime], Awaitable[int]]


async def _repeat(services: Services, run_id: int, chunk: _Chunk, progress: Progress | None) -> RunRow:
    """Chunk after chunk, each in its own transaction, until one finds nothing left."""

    async def work(connection: Connection) -> int:
        # The program before the run: as everybody who writes does.
        run = await backfill.load(connection, run_id)
        await ledger.lock_program(connection, run.program_id)
        await plans.by_key(connection)
        run = await backfill.load(connection, run_id, lock=True)
        return await chunk(connection, run, services.clock())

    while looked_at := await services.database.retrying(work):
        if progress is not None:
            progress(looked_at)
    async with services.database.transaction() as connection:
        return await backfill.load(connection, run_id)


async def _award_chunk(connection: Connection, run: RunRow, now: datetime) -> int:
    """The next members, then the next orders; how many were looked at, 0 at the end."""
    if run.state != "confirmed":
        return 0
    for kind in (WayKind.SIGN_UP, WayKind.PLACE_ORDER):
        counted = run.preview["ways"].get(kind.value)
        if counted is None or counted["through"] is None:
            continue
        ids = await _next(connection, run, kind, counted["through"])
        if not ids:
            continue
        values = ledger.values_for(
            program_id=run.program_id,
            store_id=run.store_id,
            now=now,
            actor="run",
            way_id=counted["rule_version_id"],
            run_id=run.id,
            members=ids,
            orders=ids,
        )
        written = await _award(connection, kind, values)
        await _move(connection, _counted(run, kind, written), "confirmed", {kind.value: ids[-1]}, now)
        return len(ids)
    await _move(connection, run, "done", {}, now)
    return 0


async def _next(connection: Connection, run: RunRow, kind: WayKind, through: int) -> list[int]:
    after = int(run.cursor.get(kind.value, 0))
    if kind is WayKind.SIGN_UP:
        return await backfill.next_members(connection, run.program_id, run.store_id, after, through, CHUNK)
    return await backfill.next_orders(connection, run.store_id, after, through, CHUNK)


async def _award(connection: Connection, kind: WayKind, values: Mapping[str, object]) -> Written:
    if kind is WayKind.SIGN_UP:
        return await ledger.award_sign_ups(connection, values, is_run=True)
    awarded = await ledger.award_orders(connection, values, is_run=True)
    return awarded + await ledger.take_back(connection, values)


async def _undo_chunk(connection: Connection, run: RunRow, now: datetime) -> int:
    if run.state != "undoing":
        return 0
    after = int(run.cursor.get("entry", 0))
    ids = await backfill.next_to_undo(connection, run.program_id, run.id, after, UNDO_CHUNK)
    if not ids:
        await _move(connection, run, "undone", {}, now)
        return 0
    values = ledger.values_for(
        program_id=run.program_id,
        store_id=run.store_id,
        now=now,
        actor="merchant",
        run_id=run.id,
        entries=ids,
    )
    written = await ledger.undo(connection, values)
    counts = dict(run.counts)
    counts["undone_entries"] = counts.get("undone_entries", 0) + written.entries
    counts["undone_points"] = counts.get("undone_points", 0) + written.points
    await _move(connection, replace(run, counts=counts), "undoing", {"entry": ids[-1]}, now)
    return len(ids)


def _counted(run: RunRow, kind: WayKind, written: Written) -> RunRow:
    """The run with what this chunk wrote added to its counts."""
    counts: dict[str, Any] = dict(run.counts)
    counts["entries"] = counts.get("entries", 0) + written.entries
    counts["points"] = counts.get("points", 0) + written.points
    counts[kind.value] = counts.get(kind.value, 0) + written.points
    return replace(run, counts=counts)


async def _move(
    connection: Connection, run: RunRow, state: str, cursor: Mapping[str, object], now: datetime
) -> None:
    await backfill.move(
        connection,
        run.id,
        state=state,
        cursor={**run.cursor, **cursor},
        counts=run.counts,
        now=now,
    )
