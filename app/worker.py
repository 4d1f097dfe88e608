"""Keeps a process working: the workers, the stalled jobs of others, the sweep, and the database when it is ours.

Used by `serve` and by `worker`. An outage ends the engine's workers; they come back here under new ids, with a pause
that grows while the outage lasts. Any number of these run at once, on as many machines as wanted.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from sync import upkeep
from sync.attempts import describe
from sync.jobs import Jobs
from sync.kinds import Kind, Queue

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
# A worker that lasted this long had recovered from what ended the one before.
LASTED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How often things happen. A worker counts as dead after `stalled_seconds` without a heartbeat."""

    heartbeat_seconds: float = 10.0
    stalled_seconds: float = 30.0
    poll_seconds: float = 1.0
    sweep_seconds: float = 60.0
    watch_seconds: float = 2.0
    graceful_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One of the engine's workers: which queue, how many jobs at once, and whether it is told of new ones."""

    queue: Queue
    jobs_at_once: int
    listens: bool = False  # costs a connection; the others look once a second


LANES = (Lane(Queue.CHANGES, 4, listens=True), Lane(Queue.CODES, 3), Lane(Queue.RUNS, 3))


class WorkerSupervisor:
    """Runs until `stop()` or until it is cancelled; then gives running jobs a bounded time and the rest back."""

    def __init__(self, jobs: Jobs, timing: Timing | None = None) -> None:
        self._jobs = jobs
        self._services = jobs.services
        self._timing = timing or Timing()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Asks for the end; `run` returns when it has come."""
        self._stopping.set()

    async def run(self) -> None:
        """Works. Never ends because of the database or of a job."""
        timing = self._timing
        await self._jobs.wake(Kind.TICK, 0)
        tasks = [asyncio.create_task(self._keep_working(lane), name=f"{lane.queue} lane") for lane in LANES]
        duties: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("The look for stalled jobs", timing.stalled_seconds / 2, self._recover),
            ("The sweep", timing.sweep_seconds, self._sweep),
        ]
        if self._services.database.is_embedded:
            duties.append(("Keeping the database up", timing.watch_seconds, self._services.database.ensure))
        tasks += [asyncio.create_task(self._repeat(*duty), name=duty[0]) for duty in duties]
        try:
            await asyncio.wait(
                [asyncio.create_task(self._stopping.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._stopping.set()
            await asyncio.wait(tasks)
        for task in tasks:
            task.result()

    async def _repeat(self, name: str, seconds: float, do: Callable[[], Awaitable[object]]) -> None:
        while not self._stopping.is_set():
            try:
                await do()
            except Exception as error:
                # Upkeep goes on whatever happens: it is what brings the rest back.
                logger.warning("%s failed and will be tried again: %s", name, describe(error))
            await self._rest(seconds)

    async def _recover(self) -> None:
        try:
            await self._jobs.manager.say_unsaid()
        finally:
            await self._jobs.manager.recover(stalled_seconds=self._timing.stalled_seconds)

    async def _sweep(self) -> None:
        await upkeep.sweep(self._services, self._jobs.wake)

    async def _keep_working(self, lane: Lane) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._work(lane)
            if self._stopping.is_set():
                return
            if time.monotonic() - began > LASTED_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            logger.warning("The worker of the %s lane ended; a new one starts in %.1f s.", lane.queue, pause)
            await self._rest(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _work(self, lane: Lane) -> None:
        """One worker, from its registration to its end, whatever ends it."""
        timing = self._timing
        worker = asyncio.create_task(
            self._jobs.app.run_worker_async(
                queues=[lane.queue.value],
                name=lane.queue.value,
                concurrency=lane.jobs_at_once,
                fetch_job_polling_interval=timing.poll_seconds,
                shutdown_graceful_timeout=timing.graceful_seconds,
                listen_notify=lane.listens,
                delete_jobs="successful",
                install_signal_handlers=False,
                update_heartbeat_interval=timing.heartbeat_seconds,
                stalled_worker_timeout=timing.stalled_seconds,
            )
        )
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        worker.cancel()
        # Given jobs their time, the engine still says goodbye to the database, which may be away.
        await asyncio.wait({worker}, timeout=timing.graceful_seconds + 5)
        if worker.done() and not worker.cancelled() and (error := worker.exception()):
            logger.warning("The worker of the %s lane failed (%s).", lane.queue, type(error).__name__)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


async def work_until_told(jobs: Jobs, timing: Timing | None = None) -> None:
    """Works until SIGTERM or SIGINT. The jobs are open."""
    supervisor = WorkerSupervisor(jobs, timing)
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, supervisor.stop)
    try:
        await supervisor.run()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
