"""Workers that are killed, stopped, told to end or cut off from the database, in the middle of a job."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psycopg
import pytest

from app.worker import LANES
from storage.database import Database, DatabaseSettings
from storage.migrate import migrate
from sync.jobs import Jobs, build
from sync.services import Services
from tests.jobs.processes import Network, open_folder, worker_process
from tests.jobs.support import (
    FAST,
    HASTY,
    add_store,
    jobs_of,
    position,
    prepare_count,
    rows,
    services_over,
    until,
    work,
)

GOAL = 600  # 60 chunks, each with a pause: some two seconds


@pytest.fixture
async def jobs(services: Services) -> AsyncIterator[Jobs]:
    """What the test asks for jobs with; it runs none itself."""
    async with build(services, work()).opened() as jobs:
        yield jobs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "workers.log"


async def start_count(database: Database, jobs: Jobs, store_id: int, goal: int = GOAL) -> None:
    """Asks for one count as a job."""
    await prepare_count(database, store_id, goal)
    async with database.transaction() as connection:
        await jobs.defer_in(connection, "import_history", store_id)


async def assert_counted(
    database: Database, store_id: int, goal: int = GOAL, *, seconds: float = 30
) -> set[int]:
    """Waits for the job's end; every row is there once. Gives the processes that took part."""

    async def job_is_gone() -> bool:
        return await jobs_of(database, "import_history") == []

    await until(job_is_gone, seconds=seconds)
    found = await rows(
        database, "SELECT number, process FROM counted WHERE store_id = %s ORDER BY number", store_id
    )
    assert [row["number"] for row in found] == list(range(1, goal + 1))
    return {row["process"] for row in found}


async def under_way(database: Database, store_id: int) -> None:
    """Waits until the count is somewhere in the middle."""

    async def has_begun() -> bool:
        return await position(database, store_id) >= 50

    await until(has_begun)
    assert await position(database, store_id) < GOAL, "too late: the count is over"


async def test_a_killed_workers_job_is_finished_by_another(
    database: Database, database_url: str, jobs: Jobs, store_id: int, log: Path
) -> None:
    async with worker_process(database_url, log=log) as first:
        await start_count(database, jobs, store_id)
        await under_way(database, store_id)
        first.signal(signal.SIGKILL)
        await first.ended(seconds=5)
    async with worker_process(database_url, log=log) as second:
        assert await assert_counted(database, store_id) == {first.pid, second.pid}


async def test_workers_share_the_work(database: Database, database_url: str, jobs: Jobs, log: Path) -> None:
    stores = [await add_store(database, f"shop {number}") for number in range(8)]
    async with worker_process(database_url, log=log), worker_process(database_url, log=log):
        for store_id in stores:
            await start_count(database, jobs, store_id)
        for store_id in stores:
            await assert_counted(database, store_id)
    taken = await rows(database, "SELECT count(DISTINCT process) AS processes FROM counted")
    assert taken[0]["processes"] == 2


async def test_a_worker_stopped_beyond_the_timeout_does_no_harm(
    database: Database, database_url: str, jobs: Jobs, store_id: int, log: Path
) -> None:
    other = await add_store(database, "other")
    async with worker_process(database_url, log=log) as first:
        await start_count(database, jobs, store_id)
        await under_way(database, store_id)
        first.signal(signal.SIGSTOP)
        # A stopped process may hold row locks; the server ends such transactions after a minute, and we at once.
        await rows(
            database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in tr%%'"
        )
        async with worker_process(database_url, log=log) as second:
            assert await assert_counted(database, store_id) == {first.pid, second.pid}
        first.signal(signal.SIGCONT)
        # Taken for dead meanwhile, it comes back under new ids and works on.
        await until(lambda: workers_alive(database))
        await start_count(database, jobs, other)
        assert await assert_counted(database, other) == {first.pid}
    assert await rows(database, "SELECT id FROM procrastinate_jobs WHERE task_name = 'import_history'") == []


async def workers_alive(database: Database) -> bool:
    """True when the three workers of exactly one process have a heartbeat."""
    (found,) = await rows(
        database,
        "SELECT count(*) AS alive FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => %s)",
        FAST.stalled_seconds,
    )
    return bool(found["alive"] == len(LANES))


async def test_sigterm_gives_the_running_job_back(
    database: Database, database_url: str, jobs: Jobs, store_id: int, log: Path
) -> None:
    async with worker_process(database_url, log=log) as first:
        await start_count(database, jobs, store_id, goal=6000)
        await until(lambda: position(database, store_id))
        first.signal(signal.SIGTERM)
        assert await first.ended(seconds=FAST.graceful_seconds + 5) == 0
        (job,) = await jobs_of(database, "import_history")
        assert (job["status"], job["attempts"]) == ("todo", 0)
        assert await rows(database, "SELECT id FROM procrastinate_workers") == []
        reached = await position(database, store_id)
        assert 0 < reached < 6000
        async with database.transaction() as connection:
            await connection.execute("UPDATE counting SET goal = %s", (reached + 100,))
    async with worker_process(database_url, log=log):
        await assert_counted(database, store_id, reached + 100)


@pytest.mark.parametrize("outage_seconds", [10, 60])
async def test_an_outage_of_the_database_is_survived(
    database: Database,
    database_url: str,
    jobs: Jobs,
    store_id: int,
    log: Path,
    outage_seconds: int,
) -> None:
    with tempfile.TemporaryDirectory(prefix="net-") as folder:
        network = Network(Path(folder), database_url)
        await network.mend()
        async with worker_process(network.url, log=log) as worker:
            await start_count(database, jobs, store_id)
            await under_way(database, store_id)
            await network.cut()
            with pytest.raises(TimeoutError):
                await worker.ended(seconds=outage_seconds)
            assert await position(database, store_id) < GOAL
            await network.mend()
            assert await assert_counted(database, store_id) == {worker.pid}
            await jobs.wake("drain", store_id)

            async def is_drained() -> bool:
                return await jobs_of(database, "drain") == []

            await until(is_drained)
        await network.cut()


async def test_the_embedded_server_comes_back_after_kill_9(log: Path) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder())
        database = await Database.open(DatabaseSettings(None, folder / "data", server_settings=HASTY))
        stack.push_async_callback(database.close)
        await migrate(database)
        store_id = await add_store(database)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        jobs = await stack.enter_async_context(build(services_over(database, session), work()).opened())
        async with worker_process("--data", str(folder / "data"), log=log) as worker:
            await start_count(database, jobs, store_id)
            for least in (50, 200):

                async def has_come_to(least: int = least) -> bool:
                    return await position(database, store_id) >= least

                await until(has_come_to)
                os.kill(postmaster(folder / "data"), signal.SIGKILL)
            assert await assert_counted(database, store_id) == {worker.pid}
            worker.signal(signal.SIGTERM)
            assert await worker.ended(seconds=15) == 0


def postmaster(data_dir: Path) -> int:
    """The server's process id."""
    return int((data_dir / "pg18" / "postmaster.pid").read_text().split()[0])


async def test_a_process_holds_at_most_twelve_connections(
    database: Database, database_url: str, jobs: Jobs, log: Path
) -> None:
    stores = [await add_store(database, f"shop {number}") for number in range(12)]
    name = "counted-worker"
    async with worker_process(psycopg.conninfo.make_conninfo(database_url, application_name=name), log=log):
        for store_id in stores:
            await start_count(database, jobs, store_id, goal=200)
        await jobs.wake("drain", *stores)
        await jobs.wake("push", *stores)
        most = 0

        async def is_done() -> bool:
            nonlocal most
            (held,) = await rows(
                database, "SELECT count(*) AS held FROM pg_stat_activity WHERE application_name = %s", name
            )
            most = max(most, held["held"])
            left = await rows(
                database,
                "SELECT 1 FROM procrastinate_jobs WHERE task_name IN ('import_history', 'drain', 'push')",
            )
            return left == []

        await until(is_done, seconds=40, every=0.02)
    assert 8 <= most <= 12
