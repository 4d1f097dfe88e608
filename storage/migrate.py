"""Brings the schema to what this code needs, and says when it is not."""

from __future__ import annotations

from pathlib import Path

from tortoise.backends.psycopg.client import PsycopgClient
from tortoise.connection import get_connection
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.graph import MigrationKey
from tortoise.migrations.recorder import MigrationRecorder
from tortoise.migrations.schema_editor import BaseSchemaEditor

from rewards.errors import DatabaseError
from storage.database import APP_LABEL, APPS, Connection, Database

# Any number that nothing else locks: "perennia" read as eight bytes.
LOCK_KEY = int.from_bytes(b"perennia", "big", signed=True)
LOCK_WAIT = "120s"
_FOLDER = Path(__file__).parent / "migrations"
_TABLE = "tortoise_migrations"


class _Recorder(MigrationRecorder):
    """Notes applied migrations on the given connection: Tortoise's own writes `$1`, which psycopg does not take.

    Nor does it hide errors: Tortoise takes any failure to read the table for "nothing applied".
    """

    def __init__(self, client: PsycopgClient, connection: Connection) -> None:
        super().__init__(client, table_name=_TABLE)
        self._psycopg = connection

    async def ensure_schema(self, schema_editor: BaseSchemaEditor) -> None:
        await self._psycopg.execute(
            f"""CREATE TABLE IF NOT EXISTS {_TABLE} (
                id serial PRIMARY KEY, app varchar(255) NOT NULL, name varchar(255) NOT NULL,
                applied_at timestamptz NOT NULL, UNIQUE (app, name))"""
        )

    async def applied_migrations(self) -> list[MigrationKey]:
        return [MigrationKey(APP_LABEL, name) for name in await applied_names(self._psycopg)]

    async def record_applied(self, app: str, name: str) -> None:
        await self._psycopg.execute(
            f"INSERT INTO {_TABLE} (app, name, applied_at) VALUES (%s, %s, now())", (app, name)
        )


async def migrate(database: Database) -> list[str]:
    """Applies what is missing, all in one transaction, and gives the names of what it applied.

    Several processes may do this at once: one works, the others wait and find it done. Raises DatabaseError when the
    schema is newer than this code.
    """
    async with database.transaction() as connection:
        await connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_WAIT,))
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        before = await applied_names(connection)
        _refuse_newer(before)
        if not set(known_names()) - set(before):
            return []
        client = get_connection("default")
        assert isinstance(client, PsycopgClient)
        executor = MigrationExecutor(client, APPS)
        executor.recorder = executor.loader.recorder = _Recorder(client, connection)
        await executor.migrate()
        return [name for name in await applied_names(connection) if name not in before]


async def check_schema(database: Database) -> None:
    """Returns when the schema is exactly what this code needs; otherwise a DatabaseError says what to do."""
    async with database.transaction() as connection:
        applied = await applied_names(connection)
    _refuse_newer(applied)
    if not applied:
        raise DatabaseError("The database has no tables of Perennial yet: run `perennial migrate`.")
    if set(known_names()) - set(applied):
        raise DatabaseError("The database's tables are older than this Perennial: run `perennial migrate`.")


def known_names() -> list[str]:
    """The migrations that this code brings, in order."""
    return sorted(path.stem for path in _FOLDER.glob("[0-9]*.py"))


async def applied_names(connection: Connection) -> list[str]:
    """The migrations that the database has seen, in order; none when it is empty."""
    cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (_TABLE,))
    found = await cursor.fetchone()
    if found is None or not found["there"]:
        return []
    cursor = await connection.execute(f"SELECT name FROM {_TABLE} WHERE app = %s ORDER BY name", (APP_LABEL,))
    return [row["name"] for row in await cursor.fetchall()]


def _refuse_newer(applied: list[str]) -> None:
    unknown = sorted(set(applied) - set(known_names()))
    if unknown:
        raise DatabaseError(
            f"The database's tables are newer than this Perennial (it does not know {unknown[-1]}). Update Perennial, "
            "or restore the backup that was made before the update."
        )
