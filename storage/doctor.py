"""Looks at everything that the database and the secrets need, and says what is wrong with which part."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewards.errors import AppError, DatabaseError
from storage.database import Database, DatabaseSettings
from storage.migrate import applied_names, check_schema, known_names
from storage.secrets import KEY_FILE, SecretBox

LOW_DISK_BYTES = 1024**3
SEALED = (("stores", "credentials"), ("stores", "webhook_secrets"), ("programs", "code_key"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One part that was looked at; `detail` is for people and holds no secret."""

    name: str
    ok: bool
    detail: str


async def examine(settings: DatabaseSettings, key_text: str | None) -> list[Finding]:
    """Looks at the data folder, disk space, server, schema and secrets key, in this order. Never raises AppError.

    The embedded server is started for it, as any command would, and stopped again if nobody else uses it.
    """
    findings = []
    if settings.url is None or not key_text:
        findings += [_data_folder(settings.data_dir), _disk_space(settings.data_dir)]
    try:
        database = await Database.open(settings)
    except DatabaseError as error:
        unknown = "not looked at: it needs the database"
        return [
            *findings,
            Finding("database server", False, str(error)),
            Finding("tables", False, unknown),
            _key(settings, key_text)[1],
        ]
    try:
        findings += [await _server(database), await _tables(database)]
        box, finding = _key(settings, key_text)
        findings.append(finding)
        if box is not None and await _is_current(database):
            findings.append(await _stored_secrets(database, box))
    finally:
        await database.close()
    return findings


def _data_folder(folder: Path) -> Finding:
    """The folder as it is before anything of ours changes it."""
    name = "data folder"
    try:
        found = folder.expanduser().stat()
    except FileNotFoundError:
        return Finding(name, True, f"{folder} will be made at the first start")
    except OSError as error:
        return Finding(
            name, False, f"{folder} cannot be reached ({error.strerror}); set PERENNIAL_DATA_DIR to another"
        )
    if not stat.S_ISDIR(found.st_mode):
        return Finding(name, False, f"{folder} is not a folder; set PERENNIAL_DATA_DIR to one")
    mode, owner = stat.S_IMODE(found.st_mode), _name(found.st_uid)
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        return Finding(
            name, False, f"{folder} belongs to {owner}; run Perennial as {owner}, or set PERENNIAL_DATA_DIR"
        )
    if mode & 0o077:
        return Finding(
            name, False, f"{folder} is open to others (mode {mode:o}); close it: chmod 700 {folder}"
        )
    return Finding(name, True, f"{folder}, belongs to {owner}, closed to others")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _disk_space(folder: Path) -> Finding:
    there = folder.expanduser().absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    said = f"{free / 1024**3:.1f} GB free for {folder}"
    if free < LOW_DISK_BYTES:
        return Finding("disk space", False, f"{said}; free at least {LOW_DISK_BYTES / 1024**3:.0f} GB")
    return Finding("disk space", True, said)


async def _server(database: Database) -> Finding:
    async with database.transaction() as connection:
        cursor = await connection.execute(
            """SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size,
                      pg_encoding_to_char(encoding) AS encoding FROM pg_database WHERE datname = current_database()"""
        )
        found = await cursor.fetchone()
    assert found is not None
    kind = "embedded" if database.is_embedded else "given by PERENNIAL_DATABASE_URL"
    said = f"PostgreSQL {found['version']}, {kind}, {found['size'] / 1024**2:.0f} MB of data"
    if found["encoding"] != "UTF8":
        return Finding(
            "database server", False, f"{said}; its encoding is {found['encoding']}, and must be UTF8"
        )
    return Finding("database server", True, said)


async def _tables(database: Database) -> Finding:
    """Missing ones are a fault only on a server of the operator's: in our own, the next command makes them."""
    async with database.transaction() as connection:
        applied = await applied_names(connection)
    if database.is_embedded and set(applied) < set(known_names()):
        return Finding(
            "tables", True, "brought up to date at the next start" if applied else "made at the first start"
        )
    try:
        await check_schema(database)
    except DatabaseError as error:
        return Finding("tables", False, str(error))
    return Finding("tables", True, f"as this Perennial needs them ({applied[-1]})")


async def _is_current(database: Database) -> bool:
    async with database.transaction() as connection:
        return await applied_names(connection) == known_names()


def _key(settings: DatabaseSettings, key_text: str | None) -> tuple[SecretBox | None, Finding]:
    """The box and whether it seals and opens."""
    name = "secrets key"
    origin = "PERENNIAL_SECRET_KEY" if key_text else str(settings.data_dir / KEY_FILE)
    try:
        box = SecretBox.open(key_text, settings.data_dir)
        works = box.open_sealed(box.seal("round trip", 1, "doctor"), 1, "doctor") == "round trip"
    except AppError as error:
        return None, Finding(name, False, str(error))
    return box, Finding(
        name, works, f"{origin}: seals and opens; keep a copy of it apart from the database's backup"
    )


async def _stored_secrets(database: Database, box: SecretBox) -> Finding:
    """Opens every secret that is stored with the keys at hand."""
    name = "stored secrets"
    problems: list[str] = []
    outdated = opened = 0
    for table, column in SEALED:
        for row_id, sealed in await _sealed(database, table, column):
            try:
                box.open_sealed(sealed, row_id, column)
            except DatabaseError as error:
                problems.append(str(error))
            else:
                opened += 1
                outdated += not box.is_current(sealed)
    if problems:
        return Finding(name, False, _shortened(problems))
    said = f"all {opened} open"
    return Finding(
        name, True, said + (f"; {outdated} still with an earlier key: keep it" if outdated else "")
    )


async def _sealed(database: Database, table: str, column: str) -> list[tuple[int, bytes]]:
    async with database.transaction() as connection:
        cursor = await connection.execute(
            f"SELECT id, {column} AS sealed FROM {table} WHERE {column} IS NOT NULL ORDER BY id"
        )
        return [(row["id"], bytes(row["sealed"])) for row in await cursor.fetchall()]


def _shortened(problems: Sequence[str]) -> str:
    more = f" ({len(problems) - 1} more like this)" if len(problems) > 1 else ""
    return problems[0] + more
