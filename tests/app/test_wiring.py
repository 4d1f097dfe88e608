"""The pieces put together as every command gets them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.wiring import load_connectors, open_jobs, open_services, timing
from rewards.errors import DatabaseError
from storage.database import Database, DatabaseSettings
from storage.migrate import applied_names, known_names
from storage.secrets import new_key
from sync.kinds import Kind
from tests.conftest import DatabaseServer
from tests.jobs.processes import open_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder / "data"


def test_every_folder_of_a_platform_is_found() -> None:
    folders = {path.parent.name for path in (ROOT / "connectors").glob("*/__init__.py")}
    assert set(load_connectors()) == folders
    assert len(folders) >= 3


async def test_services_and_jobs_over_a_server(database_url: str, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=SecretStr(database_url),
        secret_key=SecretStr(new_key()),
        heartbeat_seconds=2,
    )
    async with open_services(settings) as services, open_jobs(services) as jobs:
        assert set(Kind) == {
            Kind(name) for name in jobs.app.tasks if not name.startswith(("builtin", "procrastinate"))
        }
        await jobs.wake("drain", 1)
        sealed = services.secret_box.seal("key", 1, "credentials")
    assert timing(settings).heartbeat_seconds == 2
    async with open_services(settings) as services:
        assert services.secret_box.open_sealed(sealed, 1, "credentials") == "key"


async def test_a_servers_old_tables_are_the_operators_to_migrate(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    name = await database_server.copy("template0")
    settings = Settings(data_dir=tmp_path, database_url=SecretStr(database_server.url(name)))
    with pytest.raises(DatabaseError, match="perennial migrate"):
        async with open_services(settings):
            pass
    await database_server.drop(name)


async def test_the_embedded_database_is_brought_up_to_date(data_dir: Path) -> None:
    async with open_services(Settings(data_dir=data_dir)) as services:
        async with services.database.transaction() as connection:
            assert await applied_names(connection) == known_names()
        second = await Database.open(DatabaseSettings(None, data_dir))
        await second.close()
        async with services.database.transaction() as connection:
            await connection.execute("SELECT 1")
