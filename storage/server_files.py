"""The files of the embedded server's cluster: its configuration, its socket folder, its log and its pid file."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from storage.data_folder import Account

ROLE = "perennial"
DATABASE = "perennial"
MAX_SOCKET_PATH = 100  # the system's limit is 107 bytes, on macOS 103
MAX_LOG_BYTES = 5 * 1024 * 1024

# The builtin locale sorts alike on every machine and after every upgrade of the system's libraries.
INITDB_OPTIONS = (
    *("--username", ROLE),
    *("--encoding", "UTF8"),
    *("--locale", "C"),
    *("--locale-provider", "builtin"),
    *("--builtin-locale", "C.UTF-8"),
    *("--auth", "peer"),
)

# For a small machine that may be switched off at any moment: modest memory, few checkpoints, and every commit on
# disk before it counts. The log holds no row's contents: no statements, no details, nothing below LOG.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "8MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "log_checkpoints": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "lc_messages": "C",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "default_text_search_config": "pg_catalog.simple",
}


def socket_folder(data_folder: Path, account: Account) -> Path:
    """A private folder for the socket, the same for all our processes: in the data folder, or elsewhere if too long."""
    folder = data_folder / "run"
    if len(os.fsencode(folder)) + len("/.s.PGSQL.5432") <= MAX_SOCKET_PATH:
        _make_private(folder, account)
        return folder
    note = data_folder / "socket-folder"
    with contextlib.suppress(OSError):
        folder = Path(note.read_text())
        _make_private(folder, account)
        return folder
    folder = Path(tempfile.mkdtemp(prefix="perennial-"))
    account.give(folder)
    _replace(note, str(folder), account)
    return folder


def _make_private(folder: Path, account: Account) -> None:
    """Creates the folder, or accepts an existing one that is ours and closed to others. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        account.give(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or stat.S_IMODE(found.st_mode) != 0o700:
        raise PermissionError(f"{folder} is not a private folder of ours")


def write_configuration(data: Path, account: Account, sockets: Path, extra: Mapping[str, str]) -> None:
    """Writes the three files that decide who may connect and how the server runs, anew at each start."""
    settings = {**SETTINGS, "unix_socket_directories": f'"{sockets}"', **extra}
    head = (
        "# Written by Perennial at each start. Settings of your own go into custom.conf beside this file.\n"
    )
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
    _replace(data / "postgresql.conf", head + "".join(lines) + "include_if_exists = 'custom.conf'\n", account)
    _replace(data / "pg_hba.conf", "local all all peer map=app\n", account)
    users = dict.fromkeys((account.name, "root"))
    _replace(data / "pg_ident.conf", "".join(f'app "{user}" {ROLE}\n' for user in users), account)


def _replace(path: Path, text: str, account: Account) -> None:
    """Puts a file in place whole, never through a link that somebody left there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        account.give(Path(name))
        Path(name).replace(path)
    except OSError:
        Path(name).unlink()
        raise


def live_postmaster(data: Path) -> int | None:
    """The id of the server's process if it is alive and works on this folder; a hint, never proof that it answers."""
    pid = _noted_pid(data)
    if pid is None:
        return None
    if sys.platform == "linux":
        try:
            # The server's working folder is its data folder; an ended process, or another one, has no or another.
            return pid if Path(f"/proc/{pid}/cwd").readlink() == data.resolve() else None
        except OSError:
            return None
    return pid if _exists(pid) else None


def clear_stale_pid(data: Path, account: Account, sockets: Path) -> None:
    """Keeps files that name an ended or foreign process as the server from stopping the start.

    A killed server may stay as a zombie when nobody collects it (we ourselves must, as process 1 of a container), or
    its number may be another program's by now. Writing our own number makes PostgreSQL see the file as left over and
    still check that no process of the old server uses its memory; removing the file would skip that check.
    """
    if live_postmaster(data) is not None:
        return
    # The lock beside the socket protects nothing more: the folder is only this server's.
    (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    pid = _noted_pid(data)
    if pid is None:
        return
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if _exists(pid):
        file = data / "postmaster.pid"
        rest = file.read_text().split("\n", 1)[1:]
        _replace(file, "\n".join([str(os.getpid()), *rest]), account)


def _noted_pid(data: Path) -> int | None:
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if pid > 0 else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def open_log(log: Path, account: Account) -> int:
    """Makes sure that the log exists, belongs to the server and is not too long; gives its present length."""
    with contextlib.suppress(FileNotFoundError):
        if log.lstat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
    account.give(log)
    return log.stat().st_size


def text_after(log: Path, position: int) -> str:
    """What was written to the log after a position, at most the last 64 KB."""
    try:
        with log.open("rb") as file:
            file.seek(max(position, log.stat().st_size - 65536))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def names_full_disk(said: str) -> bool:
    """True when a program's words mean that the disk, or our quota of it, is full."""
    return any(words in said for words in ("No space left on device", "Disk quota exceeded", "ENOSPC"))


def names_old_processes(said: str) -> bool:
    """True when processes of a killed server still hold its memory."""
    return "pre-existing shared memory block" in said or "is still in use" in said
