"""What `perennial doctor` looks at beside the database: whether anybody works, and whether platforms can reach us."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.settings import PREFIX, Settings
from rewards.errors import DatabaseError
from storage import doctor
from storage.database import Database
from storage.doctor import Finding
from storage.jobs import count_workers
from storage.migrate import applied_names


async def examine(settings: Settings) -> list[Finding]:
    """All findings. Never raises AppError."""
    findings = await doctor.examine(settings.database, settings.key_text)
    if all(found.ok for found in findings if found.name in ("database server", "tables")):
        findings += await _workers(settings)
    findings.append(_public_url(settings))
    return findings


async def _workers(settings: Settings) -> list[Finding]:
    """Nothing where there are no tables yet, so that nobody can have worked."""
    name = "workers"
    try:
        database = await Database.open(settings.database)
        try:
            async with database.transaction() as connection:
                if not await applied_names(connection):
                    return []
                alive, waiting = await count_workers(connection, settings.stalled_seconds)
        finally:
            await database.close()
    except DatabaseError as error:
        return [Finding(name, False, str(error))]
    if alive:
        return [Finding(name, True, f"alive; jobs that wait: {waiting}")]
    if waiting:
        said = f"none is alive; jobs that wait: {waiting}; run `perennial serve` or `perennial worker`"
        return [Finding(name, False, said)]
    return [Finding(name, True, "none is alive; `perennial serve` runs them")]


def _public_url(settings: Settings) -> Finding:
    """Not being reachable is no fault: `perennial sync` works without."""
    name = "public address"
    if settings.public_url is None:
        return Finding(
            name,
            True,
            f"{PREFIX}PUBLIC_URL is not set: platforms cannot send webhooks, `perennial sync` reads instead",
        )
    if urlsplit(settings.public_url).scheme != "https":
        return Finding(name, True, f"{settings.public_url}; platforms send webhooks to https addresses only")
    return Finding(name, True, settings.public_url)
