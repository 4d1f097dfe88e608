"""What is due by itself, and what is taken from workers that are gone."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import aiohttp
import pytest
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status

from storage.database import Database, DatabaseSettings
from sync import upkeep
from sync.jobs import Jobs, build
from sync.services import Services
from tests.jobs.processes import Network, open_folder
from tests.jobs.support import add_store, jobs_of, rows, run_waiting, services_over, until, work

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def at(services: Services, moment: datetime) -> Services:
    """The services with the clock standing still."""
    return replace(services, clock=lambda: moment)


async def add_delivery(
    database: Database,
    store_id: int,
    key: str,
    state: str,
    *,
    handled_at: datetime | None = None,
    **more: object,
) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            """INSERT INTO deliveries (store_id, delivery_key, topic, headers, body, received_at, state, attempts,
                                       handled_at, try_after)
               VALUES (%s, %s, 'order.updated', '{}', '', %s, %s, 0, %s, %s)""",
            (store_id, key, NOON, state, handled_at, more.get("try_after")),
        )


async def add_grant(database: Database, store_id: int, *, try_after: datetime | None = None) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            """WITH store AS (SELECT id, program_id FROM stores WHERE id = %(store)s),
                    reward AS (INSERT INTO rewards (program_id, name, trigger, is_on, version, changed_at, created_at)
                               SELECT program_id, 'Birthday', 'birthday', true, 1, now(), now() FROM store
                               RETURNING id, program_id)
               INSERT INTO grants (program_id, reward_id, reward_version_id, member_id, store_id, occasion, occasion_on,
                                   due_on, valid_until, state, attempts, try_after, decided_at)
               SELECT program_id, id, 1, 1, %(store)s, 'birthday:2026', '2026-11-21', '2026-11-21', now(), 'decided',
                      0, %(try_after)s, now() FROM reward""",
            {"store": store_id, "try_after": try_after},
        )


async def start_as_dead_worker(jobs: Jobs, seconds_ago: float) -> Job:
    """Fetches the next job as a worker whose last heartbeat was so long ago."""
    worker_id = await jobs.manager.register_worker()
    job = await jobs.manager.fetch_job(queues=None, worker_id=worker_id)
    assert job is not None
    async with jobs.services.database.transaction() as connection:
        await connection.execute(
            "UPDATE procrastinate_workers SET last_heartbeat = now() - make_interval(secs => %s) WHERE id = %s",
            (seconds_ago, worker_id),
        )
    return job


async def test_a_stalled_job_is_given_back_uncounted(services: Services, store_id: int) -> None:
    async with build(services, work()).opened() as jobs:
        await jobs.wake("drain", store_id)
        await start_as_dead_worker(jobs, 31)
        assert await jobs.manager.recover(stalled_seconds=30) == 1
        (job,) = await jobs_of(services.database, "drain")
        assert (job["status"], job["attempts"]) == ("todo", 0)
        assert await jobs.manager.recover(stalled_seconds=30) == 0


async def test_a_job_with_a_heartbeat_is_left_alone(services: Services, store_id: int) -> None:
    async with build(services, work()).opened() as jobs:
        await jobs.wake("drain", store_id)
        await start_as_dead_worker(jobs, 29)
        assert await jobs.manager.recover(stalled_seconds=30) == 0
    assert [job["status"] for job in await jobs_of(services.database, "drain")] == ["doing"]


async def test_a_stalled_job_gives_way_to_its_twin(services: Services, store_id: int) -> None:
    runs: list[int] = []

    async def drain(_: Services, woken: int) -> None:
        runs.append(woken)

    async with build(services, work(drain=drain)).opened() as jobs:
        await jobs.wake("drain", store_id)
        await start_as_dead_worker(jobs, 31)
        await jobs.wake("drain", store_id)
        await run_waiting(jobs)
        assert runs == [], "the dead worker's job blocks its twin"
        assert await jobs.manager.recover(stalled_seconds=30) == 1
        assert [job["status"] for job in await jobs_of(services.database, "drain")] == ["failed", "todo"]
        await run_waiting(jobs)
    assert runs == [store_id]


async def test_a_worker_ends_only_its_own_job(services: Services, store_id: int) -> None:
    async with build(services, work()).opened() as jobs:
        await jobs.wake("drain", store_id)
        lost = await start_as_dead_worker(jobs, 31)
        await jobs.manager.recover(stalled_seconds=30)
        taken = await start_as_dead_worker(jobs, 0)
        await jobs.manager.finish_job(lost, Status.SUCCEEDED, delete_job=True)
        await jobs.manager.retry_job(lost)
        (job,) = await jobs_of(services.database, "drain")
        assert (job["status"], job["worker_id"]) == ("doing", taken.worker_id)
        await jobs.manager.finish_job(taken, Status.SUCCEEDED, delete_job=True)
    assert await jobs_of(services.database, "drain") == []


async def test_the_sweep_asks_for_what_was_left_behind(services: Services, store_id: int) -> None:
    database = services.database
    quiet, later, paused = [await add_store(database, name) for name in ("quiet", "later", "paused")]
    await add_delivery(database, store_id, "1", "waiting")
    await add_delivery(database, store_id, "2", "waiting")
    await add_delivery(database, quiet, "1", "handled", handled_at=NOON)
    await add_delivery(database, later, "1", "waiting", try_after=NOON + timedelta(minutes=1))
    await add_delivery(database, paused, "1", "waiting")
    await add_grant(database, store_id)
    await add_grant(database, later, try_after=NOON + timedelta(minutes=1))
    await add_grant(database, paused)
    async with database.transaction() as connection:
        await connection.execute("UPDATE stores SET status = 'paused' WHERE id = %s", (paused,))

    async with build(at(services, NOON), work()).opened() as jobs:
        await upkeep.sweep(jobs.services, jobs.wake)
        await upkeep.sweep(jobs.services, jobs.wake)
    drains = [job["args"]["subject_id"] for job in await jobs_of(database, "drain")]
    assert drains == [store_id, paused], "webhooks of a paused store are still handled"
    assert [job["args"]["subject_id"] for job in await jobs_of(database, "push")] == [store_id]


async def test_each_store_is_reconciled_once_on_its_local_day(services: Services) -> None:
    database = services.database
    # The 22nd in Kiritimati, the 21st in Madrid, still the 20th in Midway.
    moment = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
    synced: dict[str, object] = {"synced_at": datetime(2026, 11, 1, tzinfo=UTC)}

    async def add(name: str, zone: str, day: int | None, **more: object) -> int:
        last = day and date(2026, 11, day)
        return await add_store(database, name, time_zone=zone, last_reconciled_on=last, **{**synced, **more})

    east = await add("east", "Pacific/Kiritimati", 21)
    await add("west", "Pacific/Midway", 20)
    late = await add("late", "Europe/Madrid", 3)
    never = await add("never", "Europe/Madrid", None)
    await add("done", "Europe/Madrid", 21)
    await add("new today", "Europe/Madrid", None, installed_at=moment - timedelta(hours=1), synced_at=moment)
    await add("not synced", "Europe/Madrid", None, synced_at=None)
    await add("paused", "Europe/Madrid", 3, status="paused")
    await add("odd", "Mars/Olympus", 3)

    async with build(at(services, moment), work()).opened() as jobs:
        await upkeep.tick(jobs.services, jobs.wake)
        await upkeep.tick(jobs.services, jobs.wake)
    due = [job["args"]["subject_id"] for job in await jobs_of(database, "reconcile")]
    assert due == [east, late, never]


async def test_the_tick_asks_for_occasions_and_for_one_clearing_away_a_day_later(services: Services) -> None:
    runs: list[str] = []

    async def occasions(_: Services) -> None:
        runs.append("occasions")

    async with build(services, work(occasions=occasions)).opened() as jobs:
        for _ in range(2):
            await jobs.wake("tick", 0)
            await run_waiting(jobs)
    assert runs == ["occasions", "occasions"]
    (job,) = await jobs_of(services.database, "housekeeping")
    wait = job["scheduled_at"] - datetime.now(UTC)
    assert timedelta(hours=23) < wait <= timedelta(hours=24)


async def test_the_tick_is_the_only_cron(services: Services) -> None:
    jobs = build(services, work())
    (periodic,) = jobs.app.periodic_registry.periodic_tasks.values()
    assert (periodic.task.name, periodic.cron) == ("tick", "*/15 * * * *")


async def test_old_deliveries_and_ended_jobs_are_removed(services: Services, store_id: int) -> None:
    database = services.database
    old, recent = NOON - timedelta(days=31), NOON - timedelta(days=29)
    await add_delivery(database, store_id, "old", "handled", handled_at=old)
    await add_delivery(database, store_id, "recent", "handled", handled_at=recent)
    await add_delivery(database, store_id, "broken", "broken")
    await add_delivery(database, store_id, "waiting", "waiting")
    async with build(at(services, NOON), work()).opened() as jobs:
        await jobs.wake("drain", store_id)
        ended = await start_as_dead_worker(jobs, 0)
        await jobs.manager.finish_job(ended, Status.FAILED, delete_job=False)
        await jobs.wake("push", store_id)
        fresh = await start_as_dead_worker(jobs, 0)
        await jobs.manager.finish_job(fresh, Status.FAILED, delete_job=False)
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE procrastinate_events SET at = now() - interval '31 days' WHERE job_id = %s",
                (ended.id,),
            )
        await jobs.wake("housekeeping", 0)
        await run_waiting(jobs)
    left = await rows(database, "SELECT delivery_key FROM deliveries ORDER BY id")
    assert [row["delivery_key"] for row in left] == ["recent", "broken", "waiting"]
    assert [job["id"] for job in await rows(database, "SELECT id FROM procrastinate_jobs ORDER BY id")] == [
        fresh.id
    ]


async def test_an_end_that_the_database_missed_is_said_again(database_url: str, store_id: int) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder())
        network = Network(folder, database_url)
        stack.push_async_callback(network.cut)
        await network.mend()
        database = await Database.open(DatabaseSettings(network.url, folder, wait_seconds=1))
        stack.push_async_callback(database.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        jobs = await stack.enter_async_context(build(services_over(database, session), work()).opened())
        await jobs.wake("drain", store_id)
        await jobs.wake("push", store_id)
        ended = await start_as_dead_worker(jobs, 0)
        to_retry = await start_as_dead_worker(jobs, 0)

        await network.cut()
        await jobs.manager.finish_job(ended, Status.SUCCEEDED, delete_job=True)
        await jobs.manager.retry_job(to_retry)
        with pytest.raises(ConnectorException):
            await jobs.manager.say_unsaid()

        await network.mend()
        await until(lambda: said(jobs))
        assert await jobs_of(database, "drain") == []
        assert [job["status"] for job in await jobs_of(database, "push")] == ["todo"]


async def said(jobs: Jobs) -> bool:
    """True once the database has been told."""
    await jobs.manager.say_unsaid()
    return True
