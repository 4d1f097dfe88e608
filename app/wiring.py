"""Puts the pieces together: platforms from their folders, services from settings, jobs from what the layers do."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import aiohttp

import connectors
from app.settings import Settings
from app.version import version
from app.worker import Timing
from connectors.addresses import guarded_connector, is_public
from connectors.base import Connector, Secret
from rewards.errors import AlreadyReversedError
from storage.database import Database
from storage.migrate import check_schema, migrate
from storage.secrets import SecretBox
from sync import backfill, birthdays, comeback, history, occasions, points, privacy, push, reconcile
from sync.jobs import Jobs, Work, build
from sync.services import Services
from webhooks.draining import drain

# A platform that does not answer must not hold a job for good; long downloads only have to go on.
CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 60.0


def load_connectors() -> dict[str, Connector]:
    """Every platform that has a folder under connectors/, by its name."""
    found: dict[str, Connector] = {}
    for module in pkgutil.iter_modules(connectors.__path__, f"{connectors.__name__}."):
        if module.ispkg:
            connector: Connector = importlib.import_module(module.name).CONNECTOR
            found[connector.platform] = connector
    return found


def utc_now() -> datetime:
    """The clock of every process but the tests'."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_services(
    settings: Settings, *, clock: Callable[[], datetime] = utc_now
) -> AsyncIterator[Services]:
    """Database, HTTP session and platforms while the block runs. Raises DatabaseError that says what to do.

    The embedded database is brought up to date by itself; that of a server is the operator's to migrate.
    """
    database = await Database.open(settings.database)
    try:
        await (migrate(database) if database.is_embedded else check_schema(database))
        box = SecretBox.open(settings.key_text, settings.data_dir)
        async with (
            open_session(allow_private_hosts=settings.allow_private_hosts) as session,
            open_session(allow_private_hosts=True) as operator_session,
        ):
            yield Services(
                database=database,
                connectors=load_connectors(),
                session=session,
                clock=clock,
                secret_box=box,
                public_url=settings.public_url,
                allow_private_hosts=settings.allow_private_hosts,
                apps={
                    platform: {name: Secret(value.get_secret_value()) for name, value in app.items()}
                    for platform, app in settings.apps.items()
                },
                poll_minutes=settings.poll_minutes,
                operator_session=operator_session,
            )
    finally:
        await database.close()


def open_session(*, allow_private_hosts: bool) -> aiohttp.ClientSession:
    """The HTTP session that all platforms share; each of its connections is checked, redirects included.

    It says who we are: shops' firewalls turn away what calls itself by the name of a programming language.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    connector = aiohttp.TCPConnector() if allow_private_hosts else guarded_connector(is_public)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Perennial/{version()}"},
    )


@asynccontextmanager
async def open_jobs(services: Services) -> AsyncIterator[Jobs]:
    """The jobs over these services, ready to be asked for and to be run."""
    async with build(services, work()).opened() as jobs:
        yield jobs


def work() -> Work:
    """What each job does."""
    return Work(
        drain=drain,
        push=push.push_store,
        write_birthdays=birthdays.write_store,
        show_points=points.show_store,
        erase_store=privacy.erase_store,
        import_history=history.run_import,
        reconcile=reconcile.reconcile,
        ask_again=comeback.ask_again,
        backfill=backfill.continue_run,
        undo_backfill=_undo,
        occasions=_occasions,
    )


def timing(settings: Settings) -> Timing:
    """How often a worker of these settings shows that it lives."""
    return Timing(
        heartbeat_seconds=settings.heartbeat_seconds,
        stalled_seconds=settings.stalled_seconds,
        sweep_seconds=settings.sweep_seconds,
    )


async def _undo(services: Services, run_id: int) -> None:
    # A job may run twice; the second time there is nothing left to undo.
    with suppress(AlreadyReversedError):
        await backfill.undo_run(services, run_id)


async def _occasions(services: Services) -> None:
    await occasions.run(services)
    await push.expire(services)
