"""What `perennial doctor` looks at beside the database: whether anybody works, and whether platforms can reach us."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from app.operators import look_at, with_apps
from app.settings import APPS, PREFIX, Settings
from app.wiring import load_connectors
from rewards.errors import DatabaseError
from storage import doctor, stores
from storage.database import Database
from storage.doctor import Finding
from storage.jobs import count_workers
from storage.migrate import applied_names
from storage.stores import StoreRow

MOST_STORES = 20


async def examine(settings: Settings) -> list[Finding]:
    """All findings. Never raises AppError."""
    findings = await doctor.examine(settings.database, settings.key_text)
    if all(found.ok for found in findings if found.name in ("database server", "tables")):
        findings += await _at_work(settings)
    return [*findings, _public_url(settings), _install_links(settings), *await _apps(settings)]


async def _at_work(settings: Settings) -> list[Finding]:
    """Workers and stores; nothing where there are no tables yet, so that nobody can have worked."""
    name = "workers"
    try:
        database = await Database.open(settings.database)
        try:
            async with database.transaction() as connection:
                if not await applied_names(connection):
                    return []
                alive, waiting = await count_workers(connection, settings.stalled_seconds)
                active = await stores.every(connection, "active")
        finally:
            await database.close()
    except DatabaseError as error:
        return [Finding(name, False, str(error))]
    return [_workers(alive, waiting), *_stores(active)]


def _workers(alive: int, waiting: int) -> Finding:
    name = "workers"
    if alive:
        return Finding(name, True, f"alive; jobs that wait: {waiting}")
    if waiting:
        said = f"none is alive; jobs that wait: {waiting}; run `perennial serve` or `perennial worker`"
        return Finding(name, False, said)
    return Finding(name, True, "none is alive; `perennial serve` runs them")


def _stores(active: Sequence[StoreRow]) -> list[Finding]:
    """What merchants should know. It is no fault: work goes on without, as far as it can."""
    noticed = [store for store in active if store.notices or store.polled_because]
    findings = [
        Finding(f"store {store.id}", True, " ".join(_notices(store))) for store in noticed[:MOST_STORES]
    ]
    if len(noticed) > MOST_STORES:
        said = f"{len(noticed) - MOST_STORES} have notices too; `perennial stores` shows them"
        findings.append(Finding("more stores", True, said))
    return findings


def _notices(store: StoreRow) -> list[str]:
    because = store.polled_because
    return [*store.notices, *([f"Changes are read on a schedule: {because}"] if because else [])]


def _public_url(settings: Settings) -> Finding:
    """Not being reachable is no fault: what changes is read on a schedule."""
    name = "public address"
    if settings.public_url is None:
        return Finding(
            name,
            True,
            f"{PREFIX}PUBLIC_URL is not set: platforms cannot send webhooks; changes are read on a schedule",
        )
    if urlsplit(settings.public_url).scheme != "https":
        return Finding(name, True, f"{settings.public_url}; platforms send webhooks to https addresses only")
    return Finding(name, True, settings.public_url)


async def _apps(settings: Settings) -> list[Finding]:
    """The operator's own apps, asked for at their platforms."""
    looks = await look_at(settings, with_apps(settings))
    return [Finding(found.name, found.ok, found.detail) for look in looks for found in look.findings]


def _install_links(settings: Settings) -> Finding:
    """Where merchants connect stores in the browser; an app's settings under a wrong name would change nothing."""
    name = "install links"
    connectors = load_connectors()
    if unknown := sorted(set(settings.apps) - set(connectors)):
        said = f"{APPS}{unknown[0].upper()}__… names no platform; known are {', '.join(sorted(connectors))}"
        return Finding(name, False, said)
    if not settings.install_pages:
        return Finding(
            name, True, f"switched off by {PREFIX}INSTALL_PAGES; `perennial connect` connects stores"
        )
    if settings.public_url is None:
        return Finding(
            name, True, f"none before {PREFIX}PUBLIC_URL is set; `perennial connect` connects stores"
        )
    found = sorted(platform for platform, connector in connectors.items() if connector.web is not None)
    return Finding(name, True, " ".join(f"{settings.public_url}/install/{platform}" for platform in found))
