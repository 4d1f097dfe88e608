"""The way to the database: the embedded server or one given by URL, Tortoise's connection pool, transactions."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tortoise import context as tortoise_context
from tortoise.backends.base.client import TransactionContextPooled
from tortoise.backends.psycopg.client import PsycopgClient
from tortoise.exceptions import DBConnectionError

from rewards.errors import DatabaseError
from storage.embedded import EmbeddedServer, ServerAddress

T = TypeVar("T")
# Rows are dicts, as Tortoise sets its pool up.
Connection: TypeAlias = psycopg.AsyncConnection[dict[str, Any]]

APP_LABEL = "models"
APPS: dict[str, dict[str, Any]] = {
    APP_LABEL: {
        "models": ["storage.tables"],
        "migrations": "storage.migrations",
        "default_connection": "default",
    }
}
MINIMUM_VERSION = 15
MAX_TRIES = 10
RETRIED = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
# A value too large for an index: psycopg counts it among the server's own troubles, but the next try fails as well.
TOO_LARGE = (psycopg.errors.ProgramLimitExceeded,)
# A stopped or hung process of ours must not keep its row locks for good. Compiling would take longer than running: plans
# by key (storage/plans.py) look dear to the server, which has it switched on where the operator did not think of it.
SESSION_SETTINGS: Mapping[str, str] = {
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "jit": "off",
}
# Notices within about a minute that the other end of a network connection is gone.
KEEPALIVE: Mapping[str, str] = {
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the data is: `url` names a server; without it the embedded one runs in `data_dir`.

    `wait_seconds` bounds how long anybody waits for a connection. `server_settings` go to the embedded server.
    """

    url: str | None
    data_dir: Path
    pool_size: int = 8
    wait_seconds: float = 10.0
    server_settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Inside:
    """The transaction that a task is in, so that an inner one becomes a savepoint of it."""

    database: Database
    task: asyncio.Task[Any] | None
    connection: Connection


_inside: contextvars.ContextVar[_Inside | None] = contextvars.ContextVar(
    "perennial_transaction", default=None
)


class Database:
    """One process's open database. Made by `Database.open`, given back by `close`."""

    def __init__(
        self, settings: DatabaseSettings, parameters: Mapping[str, Any], server: EmbeddedServer | None
    ) -> None:
        self.settings = settings
        self._parameters = {"application_name": "perennial", **parameters}
        self._server = server
        self._tortoise = tortoise_context.TortoiseContext()
        self._root: PsycopgClient | None = None

    @classmethod
    async def open(cls, settings: DatabaseSettings) -> Database:
        """Starts or finds the server and opens the pool. Raises DatabaseError that says what to do."""
        server: EmbeddedServer | None = None
        if settings.url is None:
            server = EmbeddedServer(settings.data_dir, settings=settings.server_settings)
            address = await server.start()
            parameters: dict[str, Any] = {
                "host": address.host,
                "port": address.port,
                "user": address.user,
                "dbname": address.database,
                "connect_timeout": "5",
            }
        else:
            parameters = _parameters_of(settings.url)
        database = cls(settings, parameters, server)
        try:
            await database._check_server()
            await database._open_pool()
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Closes the pool; the last process that uses the embedded server stops it."""
        await self._tortoise.close_connections()
        if self._server is not None:
            await self._server.stop()

    @property
    def conninfo(self) -> str:
        """What libpq needs to connect here, password included: for the job engine, never for a message."""
        return make_conninfo(**self._parameters)

    @property
    def address(self) -> ServerAddress:
        """Where the server is, without the password."""
        found = self._parameters
        return ServerAddress(
            str(found.get("host") or "localhost"),
            int(found["port"]),
            str(found["user"]),
            str(found["dbname"]),
        )

    @property
    def is_embedded(self) -> bool:
        """True when the server is the one that we run."""
        return self._server is not None

    async def ensure(self) -> None:
        """Brings the embedded server back if it died, or checks that the given one answers. Raises DatabaseError."""
        if self._server is not None:
            await self._server.ensure()
        else:
            await self._check_server()

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the pool, or a savepoint of the one that this task is in already.

        The ORM inside the block uses it too. Raises DatabaseError when no connection comes in `wait_seconds`.
        """
        inside = _inside.get()
        if inside and inside.database is self and inside.task is asyncio.current_task():
            return self._savepoint(inside.connection)
        return self._new_transaction()

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[Connection]:
        """A connection of the pool outside any transaction: each statement commits by itself, in one round trip.

        For who writes often and little; hold it only while there is work. Raises DatabaseError as `transaction` does.
        """
        pool = self._root._pool if self._root else None
        if pool is None:
            raise DatabaseError("The database is closed.")
        try:
            async with asyncio.timeout(self.settings.wait_seconds + 2):
                connection = await pool.getconn(self.settings.wait_seconds)
        except (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, TimeoutError) as error:
            raise self._no_answer() from error
        try:
            yield cast(Connection, connection)
        finally:
            await pool.putconn(connection)

    async def retrying(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Runs the work in a transaction of its own, and all of it again after a deadlock. Bounded."""
        inside = _inside.get()
        if inside and inside.database is self and inside.task is asyncio.current_task():
            raise RuntimeError("retrying() cannot repeat the transaction that it is called in")
        for attempt in range(1, MAX_TRIES):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except RETRIED:
                await asyncio.sleep(random.uniform(0.2, 1.0) * min(0.01 * 2**attempt, 1.0))
        async with self.transaction() as connection:
            return await work(connection)

    @asynccontextmanager
    async def _savepoint(self, connection: Connection) -> AsyncIterator[Connection]:
        async with connection.transaction():
            yield connection

    @asynccontextmanager
    async def _new_transaction(self) -> AsyncIterator[Connection]:
        chosen = tortoise_context._current_context.set(self._tortoise)
        try:
            begun = await self._begin()
            connection = _connection_of(begun)
            entered = _inside.set(_Inside(self, asyncio.current_task(), connection))
            try:
                yield connection
            except BaseException as error:
                await begun.__aexit__(type(error), error, error.__traceback__)
                raise
            else:
                await begun.__aexit__(None, None, None)
            finally:
                _inside.reset(entered)
        finally:
            tortoise_context._current_context.reset(chosen)

    async def _begin(self) -> TransactionContextPooled:
        """Tortoise's in_transaction(), bounded in time; on failure nothing stays taken from the pool."""
        # From the pool itself, also in a task that was started inside somebody's transaction and outlives it.
        if self._root is None or self._root._pool is None:
            raise DatabaseError("The database is closed.")
        begun = cast(TransactionContextPooled, self._root._in_transaction())
        try:
            # The pool bounds the wait for a connection but not the check of one whose server hangs.
            async with asyncio.timeout(self.settings.wait_seconds + 2):
                await begun.__aenter__()
        except BaseException as error:
            await _give_back(begun)
            if isinstance(error, psycopg_pool.PoolTimeout | TimeoutError):
                raise self._no_answer() from error
            raise
        return begun

    async def _open_pool(self) -> None:
        kept = dict(self._parameters)
        credentials = {
            "host": kept.pop("host", None),
            "port": kept.pop("port"),
            "user": kept.pop("user"),
            "password": kept.pop("password", None),
            "database": kept.pop("dbname"),
            "application_name": kept.pop("application_name"),
            "server_settings": kept,
            "minsize": 1,
            "maxsize": self.settings.pool_size,
            "timeout": self.settings.wait_seconds,
            # Its pauses between attempts double: no longer than anybody waits, so that it is soon back after an outage.
            "reconnect_timeout": self.settings.wait_seconds,
            "configure": _configure,
        }
        engine = "tortoise.backends.psycopg"
        config = {"connections": {"default": {"engine": engine, "credentials": credentials}}, "apps": APPS}
        # Queries of the ORM outside a transaction belong to the first database that a process opens.
        is_first = tortoise_context._global_context is None
        with self._tortoise:
            await self._tortoise.init(config=config, _enable_global_fallback=is_first)
            self._root = cast(PsycopgClient, self._tortoise.db())
        try:
            await self._root.create_connection(with_db=True)
        except DBConnectionError as error:
            raise self._no_answer() from error

    async def _check_server(self) -> None:
        """Connects once outside the pool, whose errors do not say what is wrong."""
        try:
            async with asyncio.timeout(self.settings.wait_seconds):
                connection = await psycopg.AsyncConnection.connect(self.conninfo)
            version = connection.info.server_version // 10000
            await connection.close()
        except TimeoutError as error:
            raise self._no_answer() from error
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise DatabaseError(f"The database cannot be reached: {reason}. {self._advice()}") from error
        if version < MINIMUM_VERSION:
            raise DatabaseError(
                f"The database server is PostgreSQL {version}; Perennial needs {MINIMUM_VERSION} or later."
            )

    def _no_answer(self) -> DatabaseError:
        return DatabaseError(
            f"The database gave no connection within {self.settings.wait_seconds:.0f} seconds. {self._advice()}"
        )

    def _advice(self) -> str:
        if self._server is not None:
            return f"Look at the end of {self._server.log}, or run `perennial doctor`."
        return "Check that the server of PERENNIAL_DATABASE_URL runs, and its host, port, user, password and database."


def _connection_of(begun: TransactionContextPooled) -> Connection:
    """The psycopg connection under Tortoise's transaction: the one place that reaches for its private attribute."""
    return cast(Connection, begun.client._connection)


async def _give_back(begun: TransactionContextPooled) -> None:
    """Undoes a transaction's half-made entry, which Tortoise leaves as it is: the pool would lose a connection."""
    token = getattr(begun, "token", None)
    if token is not None:
        token._handler.reset(token)
    connection = _connection_of(begun)
    if connection is not None:
        pool = cast(PsycopgClient, begun.client._parent)._pool
        with suppress(psycopg.Error, ValueError):
            await connection.close()
            if pool is not None:
                await pool.putconn(cast(psycopg.AsyncConnection[Any], connection))


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    for name, value in SESSION_SETTINGS.items():
        await connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def _parameters_of(url: str) -> dict[str, Any]:
    """A URL's parts with our defaults beneath them. Raises DatabaseError without repeating the URL: it has a password."""
    try:
        given = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
        port = int(given.get("port") or 5432)
    except (psycopg.ProgrammingError, ValueError):
        raise DatabaseError(
            "PERENNIAL_DATABASE_URL cannot be read. It should look like postgresql://user:password@host:5432/database."
        ) from None
    if not given.get("dbname") or not given.get("user"):
        raise DatabaseError(
            "PERENNIAL_DATABASE_URL must name a user and a database: postgresql://user@host/database."
        )
    return {"connect_timeout": "5", **KEEPALIVE, **given, "port": port}
