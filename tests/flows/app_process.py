"""The app in a process of its own, to be killed: `serve` takes webhooks and works, `worker` only works.

As the commands of those names do it, but with shorter waits, so that a test sees what comes after them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import cast

import uvicorn
from quart import Quart

from app.settings import load_settings
from app.wiring import open_services, work
from app.worker import Timing, WorkerSupervisor, work_until_told
from sync.attempts import Pauses
from sync.jobs import Jobs, build
from sync.services import Services
from webhooks.accept import Acceptor
from webhooks.lane import AsgiApp, Lane

TIMING = Timing(
    heartbeat_seconds=0.5,
    stalled_seconds=2.5,
    poll_seconds=0.3,
    sweep_seconds=1.0,
    watch_seconds=0.3,
    graceful_seconds=2.0,
)
PAUSES = Pauses(first_seconds=0.5, longest_seconds=3.0, platform_seconds=0.5, outage_seconds=0.3)


async def serve(services: Services, jobs: Jobs, port: int) -> None:
    """Web and worker in one process, until it is told to end."""
    acceptor = Acceptor(services, jobs.wake)
    pages = cast(AsgiApp, Quart(__name__))
    config = uvicorn.Config(Lane(acceptor, pages), host="127.0.0.1", port=port, log_config=None)
    supervisor = WorkerSupervisor(jobs, TIMING)
    working = asyncio.create_task(supervisor.run())
    try:
        await uvicorn.Server(config).serve()
    finally:
        supervisor.stop()
        await working
        await acceptor.close()


async def main(command: str) -> None:
    """Runs one of the two commands."""
    settings = load_settings()
    async with open_services(settings) as services, build(services, work(), PAUSES).opened() as jobs:
        if command == "serve":
            await serve(services, jobs, settings.port)
        else:
            await work_until_told(jobs, TIMING)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(name)s %(message)s")
    asyncio.run(main(sys.argv[1]))
