"""Transactions, retries and what happens while the server is away."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import procrastinate
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tortoise.expressions import F

from rewards.errors import DatabaseError
from storage.database import Connection, Database, DatabaseSettings
from storage.tables import Program
from tests.conftest import DatabaseServer


async def _add_program(connection: Connection, name: str) -> int:
    cursor = await connection.execute(
        """INSERT INTO programs (name, is_on, currency, leap_rule, match_across_stores, created_at, code_key)
           VALUES (%s, true, 'EUR', 'feb_28', false, now(), '\\x00') RETURNING id""",
        (name,),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row["id"])


async def _names(database: Database) -> list[str]:
    async with database.transaction() as connection:
        cursor = await connection.execute("SELECT name FROM programs ORDER BY id")
        return [row["name"] for row in await cursor.fetchall()]


async def test_a_transaction_commits_when_its_block_ends(database: Database) -> None:
    async with database.transaction() as connection:
        await _add_program(connection, "kept")
    assert await _names(database) == ["kept"]


async def test_an_error_in_a_transaction_leaves_no_row(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await _add_program(connection, "gone")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await _names(database) == []


async def test_the_orm_inside_a_transaction_is_part_of_it(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            made = await _add_program(connection, "seen by both")
            await Program.filter(id=made).update(name="changed by the ORM")
            cursor = await connection.execute("SELECT name FROM programs WHERE id = %s", (made,))
            assert await cursor.fetchone() == {"name": "changed by the ORM"}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await Program.all().count() == 0


async def test_an_inner_transaction_is_a_savepoint(database: Database) -> None:
    async def fail(outer: Connection) -> None:
        async with database.transaction() as inner:
            assert inner is outer
            await _add_program(inner, "inner")
            raise ZeroDivisionError

    async with database.transaction() as connection:
        await _add_program(connection, "outer")
        with pytest.raises(ZeroDivisionError):
            await fail(connection)
    assert await _names(database) == ["outer"]


async def test_a_task_started_inside_a_transaction_has_its_own(database: Database) -> None:
    async def separately() -> None:
        async with database.transaction() as connection:
            await _add_program(connection, "separate")

    async def fail() -> None:
        async with database.transaction() as connection:
            await _add_program(connection, "undone")
            await asyncio.create_task(separately())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await _names(database) == ["separate"]


async def test_a_cancelled_transaction_leaves_nothing_and_gives_its_connection_back(
    database: Database,
) -> None:
    began = asyncio.Event()

    async def endless() -> None:
        async with database.transaction() as connection:
            await _add_program(connection, "cancelled")
            began.set()
            await connection.execute("SELECT pg_sleep(60)")

    for _ in range(database.settings.pool_size + 2):
        began.clear()
        task = asyncio.create_task(endless())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await _names(database) == []


async def test_deadlocked_work_is_done_again_whole(database: Database) -> None:
    async with database.transaction() as connection:
        first, second = await _add_program(connection, "a"), await _add_program(connection, "b")
        await connection.execute("ALTER TABLE programs ADD COLUMN visits integer NOT NULL DEFAULT 0")
    tries = 0

    async def visit(connection: Connection, order: tuple[int, int]) -> None:
        nonlocal tries
        tries += 1
        for program in order:
            await connection.execute("UPDATE programs SET visits = visits + 1 WHERE id = %s", (program,))
            await asyncio.sleep(0.01)

    orders = [(first, second), (second, first)] * 3
    await asyncio.gather(*(database.retrying(lambda c, o=order: visit(c, o)) for order in orders))
    async with database.transaction() as connection:
        cursor = await connection.execute("SELECT visits FROM programs")
        assert [row["visits"] for row in await cursor.fetchall()] == [6, 6]
    assert tries > 6  # otherwise nothing ever deadlocked and this test shows nothing


async def test_other_errors_are_not_retried(database: Database) -> None:
    tries = 0

    async def broken(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await database.retrying(broken)
    assert tries == 1


async def test_retrying_inside_a_transaction_is_refused(database: Database) -> None:
    async with database.transaction():
        with pytest.raises(RuntimeError):
            await database.retrying(lambda connection: _add_program(connection, "never"))


async def test_more_work_than_connections_waits_its_turn(database: Database) -> None:
    async def count() -> int:
        async with database.transaction() as connection:
            cursor = await connection.execute(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row["n"])

    assert max(await asyncio.gather(*(count() for _ in range(100)))) <= database.settings.pool_size


async def test_queries_work_again_after_every_connection_was_cut(database: Database) -> None:
    async with database.transaction() as connection:
        await _add_program(connection, "still here")

    async def hold() -> None:
        async with database.transaction() as connection:
            await connection.execute("SELECT pg_sleep(0.05)")

    await asyncio.gather(*(hold() for _ in range(database.settings.pool_size)))
    async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as other:
        await other.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
    assert await asyncio.gather(*(_names(database) for _ in range(8))) == [["still here"]] * 8


async def test_two_databases_in_one_process_stay_apart(
    database: Database, database_server, database_template
) -> None:
    name = await database_server.copy(database_template)
    other = await Database.open(DatabaseSettings(database_server.url(name), Path()))
    try:
        async with other.transaction() as connection:
            made = await _add_program(connection, "other")
            assert await Program.filter(id=made).update(is_on=F("is_on")) == 1
        assert await _names(database) == []
        assert await _names(other) == ["other"]
        assert await Program.all().count() == 0
    finally:
        await other.close()
        await database_server.drop(name)


async def test_a_job_deferred_in_a_transaction_lives_and_dies_with_it(database: Database) -> None:
    engine = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=database.conninfo))

    @engine.task(name="noted")
    async def noted(number: int) -> None:
        raise AssertionError("no worker runs here")

    async def fail() -> None:
        async with database.transaction() as connection:
            await _add_program(connection, "undone")
            await noted.configure(connection=connection).defer_async(number=1)
            raise ZeroDivisionError

    async with engine.open_async():
        with pytest.raises(ZeroDivisionError):
            await fail()
        async with database.transaction() as connection:
            await _add_program(connection, "kept")
            await noted.configure(connection=connection).defer_async(number=2)
    assert await _names(database) == ["kept"]
    async with database.transaction() as connection:
        cursor = await connection.execute("SELECT args FROM procrastinate_jobs")
        assert await cursor.fetchall() == [{"args": {"number": 2}}]


async def test_a_hung_process_of_ours_does_not_keep_its_locks_for_good(database: Database) -> None:
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "SELECT current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('timezone') AS zone"
        )
        assert await cursor.fetchone() == {"idle": "1min", "zone": "UTC"}


async def test_conninfo_and_address_name_the_same_server(database: Database) -> None:
    parts = conninfo_to_dict(database.conninfo)
    assert (parts["dbname"], parts["user"]) == (database.address.database, database.address.user)
    assert not database.is_embedded


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://nobody:hush@127.0.0.1:1/perennial", "cannot be reached"),
        ("postgresql://nobody:hush@host.invalid/perennial", "cannot be reached"),
        ("postgresql:///?host=/nowhere", "must name a user and a database"),
        ("not a url", "cannot be read"),
        ("postgresql://a:hush@one,two:5432,5433/x", "cannot be read"),
    ],
)
async def test_an_unusable_url_says_so_at_once_and_without_its_password(url: str, says: str) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseError, match=says) as raised:
        await Database.open(DatabaseSettings(url, Path()))
    assert time.monotonic() - began < 12
    assert "hush" not in str(raised.value)
    assert "PERENNIAL_DATABASE_URL" in str(raised.value)


async def test_a_closed_database_refuses(database_url: str) -> None:
    closed = await Database.open(DatabaseSettings(database_url, Path()))
    await closed.close()
    with pytest.raises(DatabaseError, match="closed"):
        async with closed.transaction():
            pass


async def test_a_servers_own_settings_do_not_slow_us_down(
    database: Database, database_server: DatabaseServer
) -> None:
    name = database.address.database
    await database_server.run(f'ALTER DATABASE "{name}" SET jit = on')
    later = await Database.open(DatabaseSettings(database_server.url(name), Path()))
    try:
        async with later.transaction() as connection:
            cursor = await connection.execute("SHOW jit")
            assert await cursor.fetchone() == {"jit": "off"}
    finally:
        await later.close()
