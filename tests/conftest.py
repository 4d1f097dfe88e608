"""What every test may ask for: a real database of its own, and a box for secrets.

One PostgreSQL serves the whole session: the embedded one in a temporary folder, or the server that
PERENNIAL_TEST_DATABASE_URL names (its user must be allowed to create databases). Each test gets a copy of a migrated
template.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage.database import Database, DatabaseSettings
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.secrets import SecretBox, new_key

# Nothing of a test has to survive a power cut.
HASTY = {
    "deadlock_timeout": "100ms",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
    "max_connections": "200",
}


@dataclass(frozen=True)
class DatabaseServer:
    """The session's server: makes and drops databases."""

    conninfo: str

    def url(self, name: str) -> str:
        """What PERENNIAL_DATABASE_URL would be for one of its databases."""
        return make_conninfo(self.conninfo, dbname=name)

    async def run(self, statement: str) -> None:
        """Runs a statement that no transaction may hold."""
        async with await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True) as connection:
            await connection.execute(statement)

    async def copy(self, template: str) -> str:
        """A fresh database with what the template holds; gives its name."""
        name = f"test_{secrets.token_hex(6)}"
        await self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return name

    async def drop(self, name: str) -> None:
        """Takes a database away, whoever is still connected."""
        await self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _in_memory() -> str | None:
    """Where files are held in memory, if there is room; None: where temporary files go.

    A database for each test is some seven hundred small files, which are made there in a tenth of the time (30 of 380 ms).
    """
    folder = "/dev/shm"
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < 4 * 2**30:
        return None
    return folder


@pytest.fixture(scope="session")
async def database_server() -> AsyncIterator[DatabaseServer]:
    """The PostgreSQL server that all tests share."""
    given = os.environ.get("PERENNIAL_TEST_DATABASE_URL")
    if given:
        conninfo_to_dict(given)
        yield DatabaseServer(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="perennial-tests-", dir=_in_memory()))
    server = EmbeddedServer(folder, settings=HASTY)
    try:
        address = await server.start()
        yield DatabaseServer(
            make_conninfo(host=address.host, port=address.port, user=address.user, dbname="postgres")
        )
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def database_template(database_server: DatabaseServer) -> AsyncIterator[str]:
    """The name of a migrated, empty database to copy."""
    name = await database_server.copy("template0")
    database = await Database.open(DatabaseSettings(database_server.url(name), Path()))
    try:
        await migrate(database)
    finally:
        await database.close()
    yield name
    await database_server.drop(name)


@pytest.fixture
async def database_url(database_server: DatabaseServer, database_template: str) -> AsyncIterator[str]:
    """The URL of a migrated database that only this test knows: for tests that start processes of their own."""
    name = await database_server.copy(database_template)
    yield database_server.url(name)
    await database_server.drop(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of this test's own, open."""
    opened = await Database.open(DatabaseSettings(database_url, Path()))
    yield opened
    await opened.close()


@pytest.fixture
def secret_box() -> SecretBox:
    """A box with a key that nobody else has."""
    return SecretBox.open(new_key(), Path())
