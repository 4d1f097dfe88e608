"""The PostgreSQL server that Perennial brings along and runs in its data folder.

Several of our processes share it. Each holds a shared lock on `users.lock`; whoever shuts down cleanly and can make
that lock exclusive was the last one and stops the server. After `kill -9`, of us or of the server, the next start
adopts or restarts it. "Running" always means that a connection succeeds, never that a process id exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import psycopg

from rewards.errors import DatabaseError
from storage import server_files
from storage.data_folder import Account, prepare_data_folder, server_account
from storage.server_programs import programs_folder

MAJOR_VERSION = 18
NEEDED_BYTES = 256 * 1024 * 1024
LOCK_SECONDS = 60.0
START_SECONDS = 60.0
STOP_SECONDS = 60
CONNECT_SECONDS = 2
POLL_SECONDS = 0.02
STUCK_SECONDS = 5.0
MAX_STARTS = 3


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server listens: `host` is a folder that holds its socket."""

    host: str
    port: int
    user: str
    database: str


class Answer(Enum):
    """What came of trying to connect."""

    READY = auto()
    NO_DATABASE = auto()  # ready, but our database has not been created
    WAIT = auto()  # starting or recovering
    ENDING = auto()  # shutting down
    NONE = auto()


class EmbeddedServer:
    """One process's share in the server of a data folder. `settings` add to, or replace, those of PostgreSQL."""

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = Path(os.path.abspath(data_dir.expanduser()))
        self.data = self.data_dir / f"pg{MAJOR_VERSION}"
        self.log = self.data_dir / "server.log"
        self._settings = dict(settings or {})
        self._users_lock: int | None = None
        self._account: Account | None = None
        self._address: ServerAddress | None = None

    async def start(self) -> ServerAddress:
        """Starts, adopts or restarts the server and counts us among its users. Raises DatabaseError."""
        with self._explained():
            return await asyncio.to_thread(self._start)

    async def ensure(self) -> None:
        """Restarts the server if it died; costs one connection when it lives. Raises DatabaseError."""
        with self._explained():
            await asyncio.to_thread(self._ensure)

    async def stop(self) -> None:
        """Takes us off its users and stops the server if nobody else uses it. May be called twice."""
        await asyncio.to_thread(self._stop)

    def _start(self) -> ServerAddress:
        self._account = server_account()
        prepare_data_folder(self.data_dir, self._account)
        with self._exclusively():
            if self._users_lock is None:
                self._users_lock = self._open_lock("users.lock")
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
            try:
                self._check_version()
                folder = server_files.socket_folder(self.data_dir, self._account)
                self._address = ServerAddress(str(folder), 5432, server_files.ROLE, server_files.DATABASE)
                self._bring_up()
            except BaseException:
                self._release()
                raise
        return self._address

    def _ensure(self) -> None:
        if self._address is None:
            raise DatabaseError("The database has not been started.")
        if self._try_connecting() is Answer.READY:
            return
        with self._exclusively():
            self._bring_up()

    def _stop(self) -> None:
        if self._users_lock is None:
            return
        with self._exclusively():
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._release()
            try:
                if server_files.live_postmaster(self.data) is not None:
                    self._pg_ctl("stop", "-m", "fast", "-w", "-t", str(STOP_SECONDS))
            finally:
                self._release()

    def _bring_up(self) -> None:
        """Goes on until a connection succeeds; the caller holds the exclusive lock."""
        began = time.monotonic()
        starts = 0
        while (answer := self._try_connecting()) is not Answer.READY:
            waited = time.monotonic() - began
            if waited > START_SECONDS:
                raise self._no_answer()
            if answer is Answer.NO_DATABASE:
                self._create_database()
            elif answer is Answer.WAIT:
                time.sleep(POLL_SECONDS)
            elif server_files.live_postmaster(self.data) is not None:
                self._wait_for_live_server(answer, waited)
            else:
                starts += 1
                self._start_once(last_try=starts >= MAX_STARTS)

    def _wait_for_live_server(self, answer: Answer, waited: float) -> None:
        """A server that lives but takes nobody in is on its way up or down, or is stuck there."""
        assert self._address is not None
        socket = Path(self._address.host) / f".s.PGSQL.{self._address.port}"
        # Somebody's plain `kill` makes it wait for its users to leave, and those are us; or its socket was deleted.
        if waited > STUCK_SECONDS and (answer is Answer.ENDING or not socket.exists()):
            self._pg_ctl("stop", "-m", "fast", "-w", "-t", str(STOP_SECONDS))
        time.sleep(POLL_SECONDS)

    def _start_once(self, *, last_try: bool) -> None:
        assert self._account is not None
        assert self._address is not None
        if not self.data.exists():
            self._create_cluster()
        server_files.write_configuration(self.data, self._account, Path(self._address.host), self._settings)
        server_files.clear_stale_pid(self.data, self._account, Path(self._address.host))
        begin = server_files.open_log(self.log, self._account)
        said = self._pg_ctl("start", "-s", "-w", "-t", str(int(START_SECONDS)), "-l", str(self.log))
        if server_files.live_postmaster(self.data) is not None:
            return
        said += server_files.text_after(self.log, begin)
        if server_files.names_full_disk(said):
            raise self._full_disk()
        if server_files.names_old_processes(said):
            # Processes of a killed server are still ending; the caller tries again until its time is up.
            return time.sleep(0.2)
        if last_try:
            raise DatabaseError(
                f"The database in {self.data_dir} cannot start. The reason is at the end of {self.log}."
            )

    def _create_cluster(self) -> None:
        """Makes a new, empty cluster beside its final place and moves it there, so that a half one never counts."""
        assert self._account is not None
        free = shutil.disk_usage(self.data_dir).free
        if free < NEEDED_BYTES:
            raise self._full_disk(free)
        unfinished = self.data_dir / f"{self.data.name}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._account.give(unfinished)
        hasty = ("--no-sync",) if self._settings.get("fsync") == "off" else ()
        command = (self._program("initdb"), *server_files.INITDB_OPTIONS, *hasty, "-D", str(unfinished))
        made = self._account.run(command, folder=self.data_dir, timeout_seconds=300)
        if made.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            if server_files.names_full_disk(made.stderr + made.stdout):
                raise self._full_disk()
            reason = made.stderr.strip().splitlines()[:1]
            raise DatabaseError(f"The database in {self.data_dir} could not be created: {''.join(reason)}")
        unfinished.rename(self.data)

    def _check_version(self) -> None:
        others = [path.name for path in self.data_dir.glob("pg[0-9][0-9]") if path != self.data]
        stated = self.data / "PG_VERSION"
        if self.data.exists() and stated.is_file():
            version = stated.read_text().strip()
            others = [] if version == str(MAJOR_VERSION) else [f"pg{version}"]
        elif self.data.exists():
            raise DatabaseError(
                f"{self.data} is not a PostgreSQL data folder. Move it away, or restore it from a backup."
            )
        if others:
            raise DatabaseError(
                f"{self.data_dir} holds data of PostgreSQL {others[0].removeprefix('pg')}, and this Perennial brings "
                f"PostgreSQL {MAJOR_VERSION}. Use the Perennial that wrote it, or move the data over with pg_dump and "
                "pg_restore."
            )

    def _try_connecting(self) -> Answer:
        assert self._address is not None
        try:
            self._connect(self._address.database).close()
        except psycopg.OperationalError as error:
            return self._answer_of(str(error))
        return Answer.READY

    def _answer_of(self, message: str) -> Answer:
        """Sorts a refusal by its words: libpq gives connection failures no code, and our server speaks English."""
        if "too many clients" in message or "connection slots are reserved" in message:
            return Answer.READY
        if f'database "{server_files.DATABASE}" does not exist' in message:
            return Answer.NO_DATABASE
        if any(words in message for words in ("is starting up", "in recovery", "not yet accepting")):
            return Answer.WAIT
        if "is shutting down" in message:
            return Answer.ENDING
        if "authentication failed" in message or "no pg_hba.conf entry" in message:
            raise DatabaseError(
                f"The database in {self.data_dir} refuses us: it was started by another user. Stop Perennial there, "
                "or set PERENNIAL_DATA_DIR to a folder of your own."
            )
        return Answer.NONE

    def _create_database(self) -> None:
        with self._connect("postgres") as connection, contextlib.suppress(psycopg.errors.DuplicateDatabase):
            connection.execute(f'create database "{server_files.DATABASE}"')

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        assert self._address is not None
        return psycopg.connect(
            host=self._address.host,
            port=self._address.port,
            user=self._address.user,
            dbname=database,
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
        )

    def _pg_ctl(self, action: str, *options: str) -> str:
        assert self._account is not None
        command: list[str | Path] = [self._program("pg_ctl"), action, "-D", self.data, *options]
        done = self._account.run(command, folder=self.data_dir, timeout_seconds=START_SECONDS + STOP_SECONDS)
        return done.stdout + done.stderr

    def _program(self, name: str) -> Path:
        assert self._account is not None
        return programs_folder(self.data_dir, self._account) / name

    def _no_answer(self) -> DatabaseError:
        return DatabaseError(
            f"The database in {self.data_dir} did not answer within {START_SECONDS:.0f} seconds. See {self.log}."
        )

    def _full_disk(self, free: int | None = None) -> DatabaseError:
        left = shutil.disk_usage(self.data_dir).free if free is None else free
        return DatabaseError(
            f"There is no disk space for the database in {self.data_dir}: {left // 1024**2} MB are free, and it needs "
            f"at least {NEEDED_BYTES // 1024**2} MB. Free some, or set PERENNIAL_DATA_DIR to a larger disk."
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns what the system refuses into what to do about it."""
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise self._full_disk() from error
        except subprocess.TimeoutExpired as error:
            raise self._no_answer() from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full_disk() from error
            raise DatabaseError(
                f"The database in {self.data_dir} cannot be used ({error.strerror}: {error.filename}). Check that the "
                "folder is yours and can be written, or set PERENNIAL_DATA_DIR to another one."
            ) from error

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Keeps our other processes from starting or stopping the server meanwhile."""
        descriptor = self._open_lock("server.lock")
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise DatabaseError(
                            f"Another process has been starting or stopping the database in {self.data_dir} for more "
                            f"than {LOCK_SECONDS:.0f} seconds. End it, or try again."
                        ) from None
                    time.sleep(POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self, name: str) -> int:
        return os.open(self.data_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _release(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None
