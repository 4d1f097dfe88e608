"""Asking for jobs: wake-ups after the commit, deferrals inside a transaction."""

from __future__ import annotations

import asyncio

import pytest
from procrastinate import App

from storage.database import Database
from sync.jobs import Jobs, build
from sync.services import Services
from tests.jobs.support import FAST_PAUSES, add_store, jobs_of, rows, run_waiting, until, work


async def test_many_wake_ups_are_one_job(services: Services, store_id: int) -> None:
    async with build(services, work()).opened() as jobs:
        await asyncio.gather(*(jobs.wake("drain", store_id) for _ in range(20)))
        await jobs.wake("drain", store_id, store_id)
    found = await jobs_of(services.database, "drain")
    assert [(job["lock"], job["queueing_lock"]) for job in found] == [
        (f"drain:{store_id}", f"drain:{store_id}")
    ]


async def test_stores_are_woken_apart(services: Services, store_id: int) -> None:
    other = await add_store(services.database, "other")
    async with build(services, work()).opened() as jobs:
        await jobs.wake("drain", store_id)
        await jobs.wake("drain", store_id, other)
        await jobs.wake("push", store_id)
    assert [job["args"]["subject_id"] for job in await jobs_of(services.database, "drain")] == [
        store_id,
        other,
    ]
    assert len(await jobs_of(services.database, "push")) == 1


async def test_a_wake_up_during_the_run_is_not_lost(services: Services, store_id: int) -> None:
    runs = 0
    jobs: Jobs

    async def drain(_: Services, woken: int) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await jobs.wake("drain", woken)

    jobs = build(services, work(drain=drain))
    async with jobs.opened():
        await jobs.wake("drain", store_id)
        await run_waiting(jobs)
    assert runs == 2
    assert await jobs_of(services.database, "drain") == []


async def test_jobs_of_one_store_do_not_run_at_the_same_time(services: Services, store_id: int) -> None:
    running = most = runs = 0

    async def count(_: Services, __: int) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    async with build(services, work(import_history=count)).opened() as jobs:
        for _ in range(3):
            async with services.database.transaction() as connection:
                await jobs.defer_in(connection, "import_history", store_id)
        worker = asyncio.create_task(
            jobs.app.run_worker_async(
                concurrency=3, fetch_job_polling_interval=0.05, install_signal_handlers=False
            )
        )

        async def all_ran() -> bool:
            return runs == 3 and not running

        await until(all_ran)
        worker.cancel()
        await asyncio.wait({worker})
    assert most == 1


class _CutError(Exception):
    pass


async def test_a_rollback_leaves_neither_row_nor_job(services: Services, store_id: int) -> None:
    database = services.database

    async def confirm(jobs: Jobs, *, cut: bool) -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE stores SET name = 'confirmed' WHERE id = %s", (store_id,))
            assert await jobs.defer_in(connection, "import_history", store_id) > 0
            if cut:
                raise _CutError

    async with build(services, work()).opened() as jobs:
        with pytest.raises(_CutError):
            await confirm(jobs, cut=True)
        assert (await rows(database, "SELECT name FROM stores"))[0]["name"] == "shop"
        assert await jobs_of(database, "import_history") == []

        await confirm(jobs, cut=False)
    assert (await rows(database, "SELECT name FROM stores"))[0]["name"] == "confirmed"
    (job,) = await jobs_of(database, "import_history")
    assert (job["status"], job["args"], job["queueing_lock"]) == ("todo", {"subject_id": store_id}, None)


async def test_nobody_sees_the_job_before_the_commit(services: Services, store_id: int) -> None:
    async with build(services, work()).opened() as jobs:
        async with services.database.transaction() as connection:
            await jobs.defer_in(connection, "backfill", 1)
            seen = await asyncio.create_task(jobs_of(services.database, "backfill"))
        assert seen == []
        assert len(await jobs_of(services.database, "backfill")) == 1


async def test_the_wrong_way_of_asking_is_refused(services: Services, store_id: int) -> None:
    async with build(services, work()).opened() as jobs:
        with pytest.raises(AssertionError, match="defer_in"):
            await jobs.wake("backfill", store_id)
        async with services.database.transaction() as connection:
            with pytest.raises(AssertionError, match="after the commit"):
                await jobs.defer_in(connection, "drain", store_id)
            with pytest.raises(ValueError, match="tidy"):
                await jobs.defer_in(connection, "tidy", store_id)


async def test_a_wake_up_without_a_database_is_left_to_the_sweep(
    database: Database, services: Services, store_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = build(services, work(), FAST_PAUSES)
    async with jobs.opened():
        await database.close()
        await jobs.wake("drain", store_id)
    assert "the sweep will" in caplog.text


async def test_the_engine_takes_part_in_our_transaction_by_a_public_way(services: Services) -> None:
    """The one place that reaches into Tortoise is storage.database; the engine is given the connection itself."""
    jobs = build(services, work())
    assert isinstance(jobs.app, App)
    async with jobs.opened(), services.database.transaction() as connection:
        first = await (await connection.execute("SELECT pg_current_xact_id()::text AS id")).fetchone()
        await jobs.defer_in(connection, "undo_backfill", 7)
        second = await (
            await connection.execute(
                "SELECT xmin::text AS id FROM procrastinate_jobs WHERE task_name = 'undo_backfill'"
            )
        ).fetchone()
    assert first == second
