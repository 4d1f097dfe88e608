"""The doctor: all well, and each ailment named."""

from __future__ import annotations

import os
from pathlib import Path

from storage.database import Connection, Database, DatabaseSettings
from storage.doctor import Finding, examine
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.secrets import SecretBox, new_key
from storage.tables import Program, Store
from tests.conftest import DatabaseServer

# ruff: noqa: ASYNC240 - folders and their modes are the subject here


async def _examined(settings: DatabaseSettings, key_text: str | None) -> dict[str, Finding]:
    return {finding.name: finding for finding in await examine(settings, key_text)}


async def _add_store(connection: Connection, box: SecretBox) -> int:
    program = await Program.create(name="p", currency="EUR")
    store = await Store.create(
        program=program, platform="x", external_id="1", token="t", name="s", time_zone="UTC", currency="EUR"
    )
    sealed = box.seal("hush", store.id, "credentials")
    await connection.execute("UPDATE stores SET credentials = %s WHERE id = %s", (sealed, store.id))
    return int(store.id)


async def test_a_healthy_embedded_installation_is_well_in_every_part(data_dir: Path) -> None:
    settings = DatabaseSettings(None, data_dir, server_settings={"fsync": "off"})
    database = await Database.open(settings)
    try:
        await migrate(database)
        async with database.transaction() as connection:
            await _add_store(connection, SecretBox.open(None, data_dir))
    finally:
        await database.close()
    found = await _examined(settings, None)
    assert [finding for finding in found.values() if not finding.ok] == []
    assert list(found) == [
        "data folder",
        "disk space",
        "database server",
        "tables",
        "secrets key",
        "stored secrets",
    ]
    assert "embedded" in found["database server"].detail
    assert found["stored secrets"].detail == "all 1 open"


async def test_a_fresh_installation_is_well_since_its_first_start_makes_the_tables(data_dir: Path) -> None:
    found = await _examined(DatabaseSettings(None, data_dir, server_settings={"fsync": "off"}), None)
    assert [finding for finding in found.values() if not finding.ok] == []
    assert found["tables"].detail == "made at the first start"


async def test_tables_that_were_never_made_are_found_on_a_server_by_url(
    database_server: DatabaseServer, data_dir: Path
) -> None:
    name = await database_server.copy("template0")
    found = await _examined(DatabaseSettings(database_server.url(name), data_dir), new_key())
    await database_server.drop(name)
    assert not found["tables"].ok
    assert "no tables of Perennial yet: run `perennial migrate`" in found["tables"].detail
    assert found["database server"].ok


async def test_tables_of_a_later_perennial_are_found(data_dir: Path) -> None:
    settings = DatabaseSettings(None, data_dir, server_settings={"fsync": "off"})
    database = await Database.open(settings)
    try:
        await migrate(database)
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE tortoise_migrations SET name = '9999_later' WHERE name LIKE '0001%'"
            )
        found = await _examined(settings, None)
    finally:
        await database.close()
    assert not found["tables"].ok
    assert "newer than this Perennial" in found["tables"].detail


async def test_an_open_data_folder_is_found(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, settings={"fsync": "off"})
    await server.start()
    await server.stop()
    data_dir.chmod(0o755)
    found = await _examined(DatabaseSettings(None, data_dir, server_settings={"fsync": "off"}), new_key())
    assert not found["data folder"].ok
    assert "chmod 700" in found["data folder"].detail


async def test_a_server_by_url_needs_no_data_folder(database_url: str) -> None:
    found = await _examined(DatabaseSettings(database_url, Path("/nowhere")), new_key())
    assert [finding for finding in found.values() if not finding.ok] == []
    assert "data folder" not in found
    assert "given by PERENNIAL_DATABASE_URL" in found["database server"].detail


async def test_a_missing_key_is_found_by_opening_what_is_stored(
    database_url: str, database: Database
) -> None:
    old, new = new_key(), new_key()
    async with database.transaction() as connection:
        store_id = await _add_store(connection, SecretBox.open(old, Path()))
    settings = DatabaseSettings(database_url, Path())
    found = await _examined(settings, new)
    assert found["secrets key"].ok
    assert not found["stored secrets"].ok
    assert f"row {store_id} was sealed with a key that is not here" in found["stored secrets"].detail
    both = await _examined(settings, f"{new},{old}")
    assert both["stored secrets"].ok
    assert "1 still with an earlier key" in both["stored secrets"].detail


async def test_a_server_that_is_away_is_found_and_the_key_is_still_tried(data_dir: Path) -> None:
    found = await _examined(DatabaseSettings("postgresql://a:hush@127.0.0.1:1/x", data_dir), "no key")
    assert not found["database server"].ok
    assert "cannot be reached" in found["database server"].detail
    assert not found["tables"].ok
    assert not found["secrets key"].ok
    assert "hush" not in "".join(finding.detail for finding in found.values())


async def test_examining_leaves_no_server_behind(data_dir: Path) -> None:
    await examine(DatabaseSettings(None, data_dir, server_settings={"fsync": "off"}), new_key())
    assert not os.path.exists(data_dir / "pg18" / "postmaster.pid")
