"""What becomes of an error in a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from rewards.errors import AccessRevokedError, NotFoundError, RefusedError, RetryLaterError
from storage import stores
from storage.database import Connection
from sync.attempts import Pauses, describe
from sync.jobs import Jobs, build
from sync.services import Services
from tests.jobs.support import FAST_PAUSES, jobs_of, rows, run_waiting, until, work

Meanwhile = Callable[[Connection, Services, int], Awaitable[None]]


async def run_until_quiet(jobs: Jobs, task: str) -> None:
    """Runs jobs until none of the task waits or runs."""

    async def is_quiet() -> bool:
        await run_waiting(jobs)
        return all(
            job["status"] not in ("todo", "doing") for job in await jobs_of(jobs.services.database, task)
        )

    await until(is_quiet)


class Failing:
    """Work that raises what it is told, and then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def __call__(self, services: Services, store_id: int) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_retry_later_waits_as_long_as_the_platform_says(services: Services, store_id: int) -> None:
    push = Failing(RetryLaterError("Too many requests.", retry_after_seconds=90))
    async with build(services, work(push=push)).opened() as jobs:
        await jobs.wake("push", store_id)
        asked_at = datetime.now(UTC)
        await run_waiting(jobs)
    (job,) = await jobs_of(services.database, "push")
    assert (job["status"], job["attempts"]) == ("todo", 0)
    assert timedelta(seconds=85) < job["scheduled_at"] - asked_at < timedelta(seconds=100)


async def test_retry_later_never_counts_as_a_failure(services: Services, store_id: int) -> None:
    later = [RetryLaterError("Busy.", retry_after_seconds=0) for _ in range(FAST_PAUSES.most_failures * 3)]
    run = Failing(*later, ValueError("once"))
    async with build(services, work(import_history=run), FAST_PAUSES).opened() as jobs:
        async with services.database.transaction() as connection:
            await jobs.defer_in(connection, "import_history", store_id)
        await run_until_quiet(jobs, "import_history")
    assert run.runs == len(later) + 2
    assert await jobs_of(services.database, "import_history") == []


async def _uninstall(connection: Connection, services: Services, store_id: int) -> None:
    await stores.end(connection, store_id, "Taken out.")


async def _renew(connection: Connection, services: Services, store_id: int) -> None:
    await stores.keep_secrets(connection, services.secret_box, store_id, credentials={"key": "new"})


@pytest.mark.parametrize(
    ("meanwhile", "status", "runs"), [(_uninstall, "uninstalled", 1), (_renew, "active", 2)]
)
async def test_credentials_that_are_no_longer_the_stores_do_not_pause_it(
    services: Services, store_id: int, meanwhile: Meanwhile, status: str, runs: int
) -> None:
    seen = 0

    async def read(services: Services, store_id: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            async with services.database.transaction() as connection:
                await meanwhile(connection, services, store_id)
            raise AccessRevokedError("The key is refused.")

    async with build(services, work(import_history=read), FAST_PAUSES).opened() as jobs:
        async with services.database.transaction() as connection:
            await jobs.defer_in(connection, "import_history", store_id)
        await run_until_quiet(jobs, "import_history")
    assert seen == runs
    (store,) = await rows(services.database, "SELECT status FROM stores")
    assert store["status"] == status


async def test_a_retry_gives_way_to_the_twin_that_waits(services: Services, store_id: int) -> None:
    runs = 0
    jobs: Jobs

    async def push(_: Services, woken: int) -> None:
        nonlocal runs
        runs += 1
        await jobs.wake("push", woken)
        raise RetryLaterError("Too many requests.", retry_after_seconds=90)

    jobs = build(services, work(push=push))
    async with jobs.opened():
        await jobs.wake("push", store_id)
        await run_waiting(jobs)
    (twin,) = await jobs_of(services.database, "push")
    assert runs == 1
    assert twin["status"] == "todo"
    assert twin["scheduled_at"] > datetime.now(UTC) + timedelta(seconds=60)


async def test_revoked_access_pauses_the_store_and_says_why(services: Services, store_id: int) -> None:
    push = Failing(AccessRevokedError("The key was refused: give a new one with `perennial connect`."))
    async with build(services, work(push=push)).opened() as jobs:
        await jobs.wake("push", store_id)
        await run_until_quiet(jobs, "push")
        await jobs.wake("push", store_id)
        await run_until_quiet(jobs, "push")
    (store,) = await rows(services.database, "SELECT status, status_reason FROM stores")
    assert store == {
        "status": "paused",
        "status_reason": "The key was refused: give a new one with `perennial connect`.",
    }
    assert push.runs == 1, "a paused store is not asked again"
    assert await jobs_of(services.database, "push") == []
    (event,) = await rows(services.database, "SELECT action, actor, subject, detail FROM audit_events")
    assert (event["action"], event["actor"], event["subject"]) == (
        "store.paused",
        "worker",
        f"push:{store_id}",
    )


async def test_a_refusal_is_kept_and_not_tried_again(services: Services, store_id: int) -> None:
    run = Failing(RefusedError("The shop does not allow coupons.", code="disabled"))
    async with build(services, work(reconcile=run), FAST_PAUSES).opened() as jobs:
        await jobs.wake("reconcile", store_id)
        await run_until_quiet(jobs, "reconcile")
    assert run.runs == 1
    assert [job["status"] for job in await jobs_of(services.database, "reconcile")] == ["failed"]
    (event,) = await rows(services.database, "SELECT action, detail FROM audit_events")
    assert event == {"action": "job.failed", "detail": {"reason": "The shop does not allow coupons."}}


async def test_other_errors_are_tried_a_bounded_number_of_times(
    services: Services, store_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    run = Failing(*(ValueError("ada@people.example") for _ in range(10)))
    async with build(services, work(drain=run), FAST_PAUSES).opened() as jobs:
        await jobs.wake("drain", store_id)
        await run_until_quiet(jobs, "drain")
    assert run.runs == FAST_PAUSES.most_failures
    assert [job["status"] for job in await jobs_of(services.database, "drain")] == ["failed"]
    (event,) = await rows(services.database, "SELECT action, store_id, detail FROM audit_events")
    assert event["action"] == "job.failed"
    assert event["store_id"] == store_id
    assert event["detail"]["reason"].startswith("ValueError at sync.attempts:")
    assert "ada@people.example" not in caplog.text, "messages of others may hold personal data"


async def test_the_next_pause_is_longer(services: Services, store_id: int) -> None:
    pauses = Pauses()
    assert [pauses.after(failures) for failures in range(4)] == [5, 10, 20, 40]
    assert pauses.after(50) == pauses.longest_seconds
    run = Failing(ValueError("first"), ValueError("second"))
    async with build(
        services, work(drain=run), Pauses(first_seconds=1000, longest_seconds=9000)
    ).opened() as jobs:
        await jobs.wake("drain", store_id)
        await run_waiting(jobs)
        (job,) = await jobs_of(services.database, "drain")
        assert (job["status"], job["attempts"]) == ("todo", 1)
        assert job["scheduled_at"] > datetime.now(UTC) + timedelta(seconds=900)


async def test_an_outage_inside_a_job_does_not_count(services: Services, store_id: int) -> None:
    errors = [psycopg.OperationalError("the server is gone") for _ in range(FAST_PAUSES.most_failures + 2)]
    run = Failing(*errors)
    async with build(services, work(drain=run), FAST_PAUSES).opened() as jobs:
        await jobs.wake("drain", store_id)
        await run_until_quiet(jobs, "drain")
    assert run.runs == len(errors) + 1
    assert await rows(services.database, "SELECT 1 FROM audit_events") == []


async def test_a_job_for_what_is_gone_ends(services: Services) -> None:
    run = Failing(NotFoundError("There is no such run."))
    async with build(services, work(backfill=run)).opened() as jobs:
        async with services.database.transaction() as connection:
            await jobs.defer_in(connection, "backfill", 404)
        await jobs.wake("push", 404)
        await run_until_quiet(jobs, "backfill")
        await run_until_quiet(jobs, "push")
    assert await rows(services.database, "SELECT 1 FROM procrastinate_jobs") == []


def test_an_error_is_described_without_its_message() -> None:
    assert describe(RefusedError("Give a new key.")) == "Give a new key."
    assert (
        describe(psycopg.errors.UniqueViolation("Key (email)=(ada@people.example)"))
        == "UniqueViolation 23505"
    )
