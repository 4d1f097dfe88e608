"""The embedded server: shared by processes, stopped by the last, and back after every kind of kill."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest

from rewards.errors import DatabaseError
from storage.database import Database, DatabaseSettings
from storage.embedded import EmbeddedServer, ServerAddress
from storage.migrate import check_schema, migrate
from tests.storage.server_helpers import OtherProcess, children_of, is_alive, postmaster

# ruff: noqa: ASYNC220, ASYNC240 - what happens to files and processes is the subject here, and nobody else waits

HASTY = {"fsync": "off"}
IS_ROOT = os.geteuid() == 0


@pytest.fixture
async def server(data_dir: Path) -> AsyncIterator[EmbeddedServer]:
    """A server in a new folder, stopped afterwards whatever the test did to it."""
    made = EmbeddedServer(data_dir, settings=HASTY)
    yield made
    await made.stop()


def _connect(address: ServerAddress) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=address.host, port=address.port, user=address.user, dbname=address.database, autocommit=True
    )


def _takes_in(address: ServerAddress) -> bool:
    try:
        _connect(address).close()
    except psycopg.OperationalError:
        return False
    return True


async def _until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


async def test_a_first_start_makes_a_private_server_and_stopping_ends_it(
    server: EmbeddedServer, data_dir: Path
) -> None:
    address = await server.start()
    with _connect(address) as connection:
        assert connection.execute("SELECT current_setting('listen_addresses')").fetchone() == ("",)
        assert connection.execute("SELECT current_setting('synchronous_commit')").fetchone() == ("on",)
    for folder in (data_dir, data_dir / "pg18", Path(address.host)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (data_dir / "pg18" / "pg_hba.conf").read_text() == "local all all peer map=app\n"
    pid = postmaster(data_dir)
    assert is_alive(pid)
    await server.stop()
    await server.stop()
    assert not is_alive(pid)


async def test_what_was_committed_is_there_after_a_stop_and_a_start(server: EmbeddedServer) -> None:
    with _connect(await server.start()) as connection:
        connection.execute("CREATE TABLE notes AS SELECT 1 AS id")
    await server.stop()
    with _connect(await server.start()) as connection:
        assert connection.execute("SELECT id FROM notes").fetchone() == (1,)


async def test_the_last_process_to_stop_stops_the_server(server: EmbeddedServer, data_dir: Path) -> None:
    await server.start()
    others = [OtherProcess(data_dir) for _ in range(2)]
    pid = postmaster(data_dir)
    await server.stop()
    assert is_alive(pid)
    assert others[0].tell("stop") == "stopped"
    assert is_alive(pid)
    assert others[1].tell("stop") == "stopped"
    assert not is_alive(pid)
    for other in others:
        other.close()


async def test_processes_that_start_at_once_share_one_server(server: EmbeddedServer, data_dir: Path) -> None:
    others = await asyncio.gather(*(asyncio.to_thread(OtherProcess, data_dir) for _ in range(4)))
    address = await server.start()
    assert {other.said for other in others} == {address.host}
    for other in others:
        assert other.tell("stop") == "stopped"
        other.close()
    assert is_alive(postmaster(data_dir))


async def test_a_server_whose_process_was_killed_is_adopted_and_then_stopped(
    server: EmbeddedServer, data_dir: Path
) -> None:
    other = OtherProcess(data_dir)
    pid = postmaster(data_dir)
    other.kill()
    assert is_alive(pid)
    await server.start()
    assert postmaster(data_dir) == pid
    await server.stop()
    assert not is_alive(pid)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGQUIT])
async def test_a_killed_server_comes_back_with_what_was_committed(
    server: EmbeddedServer, data_dir: Path, kill: signal.Signals
) -> None:
    address = await server.start()
    other = OtherProcess(data_dir)
    with _connect(address) as connection:
        connection.execute("CREATE TABLE notes AS SELECT generate_series(1, 1000) AS id")
    pid = postmaster(data_dir)
    os.kill(pid, kill)
    await _until(lambda: not is_alive(pid))
    await asyncio.gather(server.ensure(), asyncio.to_thread(other.tell, "ensure"))
    assert postmaster(data_dir) != pid
    with _connect(address) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (1000,)
    assert other.tell("query") == "1000"
    assert other.tell("stop") == "stopped"
    other.close()


async def test_kills_at_random_lose_nothing_that_was_committed(data_dir: Path) -> None:
    chosen = random.Random(20)
    processes = [OtherProcess(data_dir) for _ in range(3)]
    address = ServerAddress(processes[0].said, 5432, "perennial", "perennial")
    with _connect(address) as connection:
        connection.execute("CREATE TABLE notes (id integer)")
    for written in range(10):
        if chosen.random() < 0.7:
            pid = postmaster(data_dir)
            os.kill(pid, chosen.choice([signal.SIGKILL, signal.SIGQUIT, signal.SIGINT]))
            await _until(lambda killed=pid: not is_alive(killed))
        if chosen.random() < 0.4:
            processes[2].kill()
            processes[2] = OtherProcess(data_dir)
        assert [process.tell("ensure") for process in processes] == [str(written)] * 3
        with _connect(address) as connection:
            connection.execute("INSERT INTO notes VALUES (1)")
    assert [process.tell("stop") for process in processes] == ["stopped"] * 3
    for process in processes:
        process.close()
    assert not (data_dir / "pg18" / "postmaster.pid").exists()


@pytest.mark.parametrize("loses_socket", [False, True])
async def test_a_server_that_no_longer_takes_anybody_in_is_started_anew(
    server: EmbeddedServer, data_dir: Path, loses_socket: bool
) -> None:
    address = await server.start()
    pid = postmaster(data_dir)
    with _connect(address):
        if loses_socket:
            (Path(address.host) / ".s.PGSQL.5432").unlink()
        else:
            os.kill(pid, signal.SIGTERM)  # it waits for the connection above, which does not end
            await _until(lambda: not _takes_in(address))
        await server.ensure()
        assert postmaster(data_dir) != pid
    _connect(address).close()


async def test_server_and_process_killed_together_are_recovered_by_the_next_start(
    server: EmbeddedServer, data_dir: Path
) -> None:
    other = OtherProcess(data_dir)
    pid = postmaster(data_dir)
    os.kill(pid, signal.SIGKILL)
    other.kill()
    await server.start()
    assert postmaster(data_dir) != pid


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_pid_file_that_names_another_live_process_does_not_stop_the_start(
    server: EmbeddedServer, data_dir: Path
) -> None:
    await server.start()
    file = data_dir / "pg18" / "postmaster.pid"
    kept = file.read_text().split("\n", 1)[1]
    os.kill(postmaster(data_dir), signal.SIGKILL)
    account = file.stat()
    # As the server's own user, whose processes PostgreSQL would take for a running server.
    user = {"user": account.st_uid, "group": account.st_gid, "extra_groups": []} if IS_ROOT else {}
    stranger = subprocess.Popen(["/bin/sleep", "60"], **user)
    try:
        file.write_text(f"{stranger.pid}\n{kept}")
        await server.ensure()
        assert postmaster(data_dir) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_half_made_cluster_is_made_anew(server: EmbeddedServer, data_dir: Path) -> None:
    other = OtherProcess(data_dir)
    assert other.tell("stop") == "stopped"
    other.close()
    (data_dir / "pg18").rename(data_dir / "pg18.new")
    (data_dir / "pg18.new" / "PG_VERSION").unlink()
    await server.start()
    assert (data_dir / "pg18" / "PG_VERSION").read_text() == "18\n"
    assert not (data_dir / "pg18.new").exists()


async def test_a_long_folder_name_gets_its_socket_elsewhere(open_folder: Path) -> None:
    long = open_folder / ("long-" * 24)
    server = EmbeddedServer(long, settings=HASTY)
    address = await server.start()
    try:
        assert not Path(address.host).is_relative_to(long)
        assert stat.S_IMODE(Path(address.host).stat().st_mode) == 0o700
        other = OtherProcess(long)
        assert other.said == address.host
        assert other.tell("stop") == "stopped"
        other.close()
        # A cleaner of temporary folders must not cut the server off for good.
        for entry in Path(address.host).iterdir():
            entry.unlink()
        Path(address.host).rmdir()
    finally:
        await server.stop()
    assert (await server.start()).host == address.host
    await server.stop()
    Path(address.host).rmdir()


async def test_a_folder_that_holds_other_things_is_not_touched(
    server: EmbeddedServer, data_dir: Path
) -> None:
    data_dir.mkdir(mode=0o755)
    (data_dir / "letter.txt").write_text("mine")
    with pytest.raises(DatabaseError, match="holds other things"):
        await server.start()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755
    assert [path.name for path in data_dir.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("folder", ["/", "/tmp", "/var/lib/../tmp"])
async def test_the_systems_own_folders_are_not_taken_over(folder: str) -> None:
    with pytest.raises(DatabaseError, match="belongs to the system"):
        await EmbeddedServer(Path(folder)).start()


async def test_a_file_instead_of_a_folder_is_named(server: EmbeddedServer, data_dir: Path) -> None:
    data_dir.write_text("")
    with pytest.raises(DatabaseError, match="PERENNIAL_DATA_DIR"):
        await server.start()


@pytest.mark.parametrize("name", ["pg17", "pg19"])
async def test_data_of_another_major_version_is_refused(
    server: EmbeddedServer, data_dir: Path, name: str
) -> None:
    await server.start()
    await server.stop()
    (data_dir / "pg18").rename(data_dir / name)
    with pytest.raises(DatabaseError, match=f"holds data of PostgreSQL {name[2:]}"):
        await server.start()
    assert not (data_dir / "pg18").exists()


async def test_a_server_that_cannot_start_names_its_log(server: EmbeddedServer, data_dir: Path) -> None:
    await server.start()
    await server.stop()
    (data_dir / "pg18" / "custom.conf").write_text("shared_buffers = 'many'\n")
    with pytest.raises(DatabaseError, match=r"cannot start.*server\.log"):
        await server.start()
    assert "shared_buffers" in (data_dir / "server.log").read_text()
    (data_dir / "pg18" / "custom.conf").write_text("work_mem = '9MB'\n")
    with _connect(await server.start()) as connection:
        assert connection.execute("SELECT current_setting('work_mem')").fetchone() == ("9MB",)


async def test_the_log_holds_no_row_contents(server: EmbeddedServer, data_dir: Path) -> None:
    with _connect(await server.start()) as connection:
        connection.execute("CREATE TABLE people (email text PRIMARY KEY, age integer)")
        connection.execute("INSERT INTO people VALUES ('anna@example.com', 1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES ('anna@example.com', 2)")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("INSERT INTO people VALUES ('anna@example.com', 'anna@example.com')")
    await server.stop()
    assert "anna" not in (data_dir / "server.log").read_text()


@pytest.mark.parametrize("by_url", [False, True])
async def test_a_database_is_the_same_embedded_and_by_url(
    server: EmbeddedServer, data_dir: Path, by_url: bool
) -> None:
    url = None
    if by_url:
        address = await server.start()
        url = f"postgresql://{address.user}@/{address.database}?host={address.host}"
    database = await Database.open(DatabaseSettings(url, data_dir, server_settings=HASTY))
    try:
        assert database.is_embedded is not by_url
        assert await migrate(database)
        await check_schema(database)
        with psycopg.connect(database.conninfo) as connection:
            assert connection.execute("SELECT count(*) FROM members").fetchone() == (0,)
    finally:
        await database.close()


async def test_while_the_server_is_away_queries_fail_soon_and_afterwards_work(data_dir: Path) -> None:
    settings = DatabaseSettings(None, data_dir, wait_seconds=1, server_settings=HASTY)
    database = await Database.open(settings)
    try:
        pid = postmaster(data_dir)
        sessions = children_of(pid)
        os.kill(pid, signal.SIGKILL)
        # A session that has not noticed yet would still answer.
        await _until(lambda: not any(map(is_alive, sessions)))

        async def ask() -> object:
            async with database.transaction() as connection:
                return await (await connection.execute("SELECT 1 AS one")).fetchone()

        for _ in range(3):
            began = time.monotonic()
            with pytest.raises((DatabaseError, psycopg.OperationalError)):
                await ask()
            assert time.monotonic() - began < 4
        await database.ensure()
        assert await ask() == {"one": 1}
    finally:
        await database.close()


async def test_a_server_by_url_that_comes_back_is_used_again(server: EmbeddedServer, data_dir: Path) -> None:
    address = await server.start()
    url = f"postgresql://{address.user}@/{address.database}?host={address.host}"
    database = await Database.open(DatabaseSettings(url, data_dir, wait_seconds=2))
    try:

        async def ask() -> bool:
            async with database.transaction() as connection:
                return (await (await connection.execute("SELECT 1 AS one")).fetchone()) == {"one": 1}

        assert await ask()
        await server.stop()
        for _ in range(2):
            with pytest.raises((DatabaseError, psycopg.OperationalError)):
                await ask()
        with pytest.raises(DatabaseError, match="cannot be reached"):
            await database.ensure()
        await server.start()
        assert await asyncio.gather(*(ask() for _ in range(20))) == [True] * 20
        await database.ensure()
    finally:
        await database.close()


async def test_a_server_that_hangs_does_not_hang_us(data_dir: Path) -> None:
    settings = DatabaseSettings(None, data_dir, wait_seconds=1, server_settings=HASTY)
    database = await Database.open(settings)

    async def ask() -> object:
        async with database.transaction() as connection:
            return await (await connection.execute("SELECT pg_backend_pid() AS pid")).fetchone()

    await ask()
    with psycopg.connect(database.conninfo) as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
        pids = [row[0] for row in found.fetchall() if row[0] != connection.info.backend_pid]
    pids.append(postmaster(data_dir))
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises((DatabaseError, psycopg.OperationalError)):
            await ask()
        assert time.monotonic() - began < 20
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert await ask()
    await database.close()
