"""The schema: from nothing to the models, by several processes at once, and never half."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from rewards.errors import DatabaseError
from storage import schema_changes
from storage.database import Database, DatabaseSettings
from storage.migrate import applied_names, check_schema, known_names, migrate

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def empty_url(database_server) -> AsyncIterator[str]:
    """The URL of a database without any table."""
    name = await database_server.copy("template0")
    yield database_server.url(name)
    await database_server.drop(name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """A database without any table, open."""
    opened = await Database.open(DatabaseSettings(empty_url, Path()))
    yield opened
    await opened.close()


async def _tables(database: Database) -> set[str]:
    async with database.transaction() as connection:
        cursor = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in await cursor.fetchall()}


async def test_models_and_migrations_agree() -> None:
    assert await schema_changes.pending_operations() == []
    assert schema_changes.pending_sql(await schema_changes.existing_migrations()) == []


async def test_the_job_engine_has_the_schema_of_its_installed_version() -> None:
    text = (ROOT / "storage" / "migrations" / "procrastinate_3_10.sql").read_text()
    assert text.endswith(SchemaManager.get_schema()), "procrastinate's schema changed: it needs a migration"


async def test_migrating_once_does_all_and_again_nothing(empty: Database) -> None:
    assert await migrate(empty) == known_names()
    assert {"members", "ledger_entries", "deliveries", "procrastinate_jobs"} <= await _tables(empty)
    assert await migrate(empty) == []
    await check_schema(empty)


async def test_every_index_and_constraint_of_extra_sql_is_there(database: Database) -> None:
    async with database.transaction() as connection:
        cursor = await connection.execute(
            """SELECT indexname AS name FROM pg_indexes WHERE schemaname = 'public'
               UNION SELECT conname FROM pg_constraint"""
        )
        there = {row["name"] for row in await cursor.fetchall()}
    words = [statement.replace("IF NOT EXISTS ", "").split() for statement in schema_changes.EXTRA_SQL]
    wanted = {
        line[line.index(word) + 1]
        for line in words
        for word in ("INDEX", "CONSTRAINT")
        if word in line and line[0] in ("CREATE", "ALTER")
    }
    assert len(wanted) > 10
    assert wanted <= there


async def test_several_processes_migrate_at_once(empty_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from storage.database import Database, DatabaseSettings\n"
        "from storage.migrate import migrate\n"
        "async def main():\n"
        "    database = await Database.open(DatabaseSettings(sys.argv[1], Path()))\n"
        "    print(len(await migrate(database)))\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    said = [(await process.communicate())[0].decode().strip() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sorted(said) == ["0", "0", str(len(known_names()))]


async def test_a_migration_that_fails_leaves_nothing(empty: Database) -> None:
    async with empty.transaction() as connection:
        await connection.execute("CREATE TABLE procrastinate_jobs (stands_in_the_way integer)")
    with pytest.raises(psycopg.errors.DuplicateTable):
        await migrate(empty)
    assert await _tables(empty) == {"procrastinate_jobs"}
    async with empty.transaction() as connection:
        await connection.execute("DROP TABLE procrastinate_jobs")
    assert await migrate(empty) == known_names()


async def test_an_empty_database_is_told_to_migrate(empty: Database) -> None:
    with pytest.raises(DatabaseError, match="run `perennial migrate`"):
        await check_schema(empty)


async def test_a_newer_schema_is_told_to_update(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO tortoise_migrations (app, name, applied_at) VALUES ('models', '9999_later', now())"
        )
    with pytest.raises(DatabaseError, match=r"9999_later.*Update Perennial"):
        await check_schema(database)
    with pytest.raises(DatabaseError, match="Update Perennial"):
        await migrate(database)
    async with database.transaction() as connection:
        assert await applied_names(connection) == [*known_names(), "9999_later"]
