"""The running app: the webhook lane in front of Quart, and the workers beside it; both end cleanly when told to."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import uvicorn
from quart import Quart, Response

from app import output
from app.install_pages import install_pages
from app.settings import Settings
from app.version import version
from app.wiring import open_jobs, open_services, timing
from app.worker import WorkerSupervisor, work_until_told
from rewards.errors import AppError, InvalidInputError
from storage.database import Connection, Database
from sync.attempts import OUTAGES
from sync.jobs import Jobs
from sync.kinds import Kind
from sync.services import Services
from webhooks.accept import AcceptLimits, Acceptor
from webhooks.lane import AsgiApp, Lane

logger = logging.getLogger(__name__)

BACKLOG = 2048
GRACEFUL_SECONDS = 10
WATCH_SECONDS = 2.0
HEALTH_SECONDS = 3.0
# Of pages; webhooks have limits of their own.
BODY_BYTES = 64 * 1024
BODY_SECONDS = 15
IMPORT_IN_SECONDS = 10
SIGNALS = (signal.SIGTERM, signal.SIGINT)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
INDEX = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Perennial</title></head>
<body>
<h1>Perennial</h1>
<p>Rewards that come back every year. This server keeps the points and the birthday and anniversary codes of the
stores that are connected to it.</p>
<p>Whoever runs it uses the command line: <code>perennial --help</code>. <a href="/healthz">Is it well?</a></p>
</body>
</html>
"""


def create_app(services: Services, jobs: Jobs, *, with_install_pages: bool = True) -> Quart:
    """The pages over these services."""
    app = Quart(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=BODY_BYTES, BODY_TIMEOUT=BODY_SECONDS)

    async def start_import(connection: Connection, store_id: int) -> None:
        # Webhooks are set up meanwhile: what happens from then on is told, what happened before is read.
        await jobs.defer_in(connection, Kind.IMPORT_HISTORY, store_id, in_seconds=IMPORT_IN_SECONDS)

    if with_install_pages:
        app.register_blueprint(install_pages(services, start_import))

    @app.get("/")
    async def index() -> str:
        return INDEX

    @app.get("/healthz")
    async def healthz() -> tuple[dict[str, object], int]:
        is_well = await _answers(services.database)
        return {"ok": is_well, "database": is_well, "version": version()}, 200 if is_well else 503

    @app.after_request
    async def with_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


async def _answers(database: Database) -> bool:
    try:
        async with asyncio.timeout(HEALTH_SECONDS), database.transaction() as connection:
            await connection.execute("SELECT 1")
    except (*OUTAGES, AppError, TimeoutError):
        return False
    return True


class _Server(uvicorn.Server):
    """Leaves signals to us: its own way ends the process before the worker and the database are closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Running:
    """Web and worker at work in this process; whichever ends by itself ends the other."""

    def __init__(
        self, server: _Server, listening: socket.socket, supervisor: WorkerSupervisor | None
    ) -> None:
        self.address = _address(listening)
        self._server = server
        self._supervisor = supervisor
        self._tasks = {asyncio.create_task(server.serve(sockets=[listening]), name="web")}
        if supervisor is not None:
            self._tasks.add(asyncio.create_task(supervisor.run(), name="work"))

    def tell(self) -> None:
        """Asks for the end; asked twice, requests that are under way are not waited for."""
        self._server.force_exit = self._server.should_exit
        self._stop()

    async def ended(self) -> None:
        """Returns when the end has been asked for, or when one of the two has ended."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Ends both, after what they have begun; raises what one of them failed with."""
        self._stop()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.result()

    def _stop(self) -> None:
        self._server.should_exit = True
        if self._supervisor is not None:
            self._supervisor.stop()


@asynccontextmanager
async def serving(
    settings: Settings, services: Services, jobs: Jobs, *, with_worker: bool
) -> AsyncIterator[str]:
    """Serves at the settings' host and port while the block runs; gives the address. Raises InvalidInputError."""
    async with _serving(settings, services, jobs, with_worker=with_worker) as running:
        yield running.address


@asynccontextmanager
async def _serving(
    settings: Settings, services: Services, jobs: Jobs, *, with_worker: bool
) -> AsyncIterator[_Running]:
    with _listening(settings.host, settings.port) as listening:
        app = create_app(services, jobs, with_install_pages=settings.install_pages)
        acceptor = Acceptor(services, jobs.wake, AcceptLimits(settings.webhook_body_limit_bytes))
        config = uvicorn.Config(
            Lane(acceptor, cast(AsgiApp, app)),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )
        supervisor = WorkerSupervisor(jobs, timing(settings)) if with_worker else None
        running = _Running(_Server(config), listening, supervisor)
        # What is loaded by now stays: walking it at each collection would take a fifth of a webhook's time.
        gc.collect()
        gc.freeze()
        # Beside a worker, the supervisor looks after the database.
        watching = None if with_worker else asyncio.create_task(_watch(services.database), name="watch")
        try:
            yield running
        finally:
            if watching is not None:
                watching.cancel()
            try:
                await running.finish()
            finally:
                await acceptor.close()


async def serve(settings: Settings, *, with_worker: bool) -> None:
    """Serves until SIGTERM or SIGINT. Raises DatabaseError, and InvalidInputError for an address that is taken."""
    async with (
        open_services(settings) as services,
        open_jobs(services) as jobs,
        _serving(settings, services, jobs, with_worker=with_worker) as running,
    ):
        output.notice(f"Perennial listens at {running.address}; Ctrl-C ends it.")
        with _on_signals(running.tell):
            await running.ended()
            await running.finish()
    output.notice("Perennial has ended.")


async def work(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT. Raises DatabaseError."""
    async with open_services(settings) as services, open_jobs(services) as jobs:
        output.notice("A worker of Perennial works; Ctrl-C ends it.")
        await work_until_told(jobs, timing(settings))
    output.notice("The worker has ended.")


async def _watch(database: Database) -> None:
    """Brings our own database back when it died, where no worker does."""
    while True:
        try:
            await database.ensure()
        except (*OUTAGES, AppError) as error:
            logger.warning("The database is away (%s).", type(error).__name__)
        await asyncio.sleep(WATCH_SECONDS)


@contextmanager
def _on_signals(end: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """The socket, before anything else is started: a taken port is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:  # its own text names the address a second time
        raise InvalidInputError(
            f"Nothing can listen at {host} port {port} ({os.strerror(error.errno or 0)}); choose another with --port."
        ) from None
    with made:
        made.setblocking(False)
        yield made


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
