"""The folder that holds everything Perennial keeps on this machine, and whom the database server runs as.

PostgreSQL refuses to run as root. So as root the server runs as a system user without a shell, to whom the data
folder belongs; the permissions of any other folder are never touched.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewards.errors import DatabaseError

SYSTEM_USER = "perennial"
# A folder that holds one of these has been used as a data folder before.
OUR_FILES = ("users.lock", "server.lock", "secret.key")
# What a fresh file system brings along does not make a folder somebody's.
HARMLESS = frozenset({"lost+found"})
# Folders of the system that may well be empty and belong to root; making one ours would close it to everybody.
SYSTEM_FOLDERS = frozenset(
    "/ /etc /home /media /mnt /opt /root /run /srv /tmp /usr /usr/local /var /var/lib /var/local /var/opt /var/tmp".split()
)
PROGRAM_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server's programs run as; `switches` is true when that is not ourselves."""

    name: str
    uid: int
    gid: int
    switches: bool

    def run(
        self, command: Sequence[str | Path], *, folder: Path, timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as this account and collects what it says; its exit status is the caller's to judge."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=PROGRAM_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            umask=0o077,
            check=False,
            user=self.uid if self.switches else None,
            group=self.gid if self.switches else None,
            extra_groups=[] if self.switches else None,
        )

    def give(self, path: Path) -> None:
        """Makes something that we have just created belong to this account."""
        if self.switches:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def server_account() -> Account:
    """Ourselves, or as root the system user, which is created when it is missing."""
    if os.geteuid() != 0:
        return Account(_own_name(), os.geteuid(), os.getegid(), switches=False)
    with contextlib.suppress(KeyError):
        return _system_account()
    _create_system_user()
    try:
        return _system_account()
    except KeyError:
        raise DatabaseError(
            f"As root the database runs as the system user '{SYSTEM_USER}', and that user could not be created. "
            f"Create it (useradd --system --shell /usr/sbin/nologin {SYSTEM_USER}), run Perennial as an ordinary "
            "user, or set PERENNIAL_DATABASE_URL to a PostgreSQL server."
        ) from None


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise DatabaseError(
            f"PostgreSQL runs only for users that have a name, and the user number {os.geteuid()} has none. Give it a "
            "line in /etc/passwd, or set PERENNIAL_DATABASE_URL to a PostgreSQL server."
        ) from None


def _system_account() -> Account:
    entry = pwd.getpwnam(SYSTEM_USER)
    if entry.pw_uid == 0:
        raise DatabaseError(f"The user '{SYSTEM_USER}' is root under another name; give it an id of its own.")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switches=True)


def _create_system_user() -> None:
    """Tries the systems' ways in turn; that another process was faster is as good as success."""
    shell = next(
        (path for path in ("/usr/sbin/nologin", "/sbin/nologin") if Path(path).exists()), "/bin/false"
    )
    home = "/nonexistent"
    ways = (
        ("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", shell),
        ("adduser", "--system", "--group", "--no-create-home", "--home", home, "--shell", shell),
        ("adduser", "-S", "-D", "-H", "-h", home, "-s", shell),  # BusyBox
    )
    for way in ways:
        if shutil.which(way[0], path=PROGRAM_ENVIRONMENT["PATH"]) is None:
            continue
        subprocess.run(
            [*way, SYSTEM_USER], env=PROGRAM_ENVIRONMENT, capture_output=True, check=False, timeout=60
        )
        with contextlib.suppress(KeyError):
            pwd.getpwnam(SYSTEM_USER)
            return


def prepare_data_folder(folder: Path, account: Account) -> None:
    """Creates the data folder, or checks that an existing one is ours and private. Raises DatabaseError."""
    if os.path.realpath(folder) in SYSTEM_FOLDERS:
        raise DatabaseError(f"{folder} belongs to the system. Set PERENNIAL_DATA_DIR to a folder inside it.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise DatabaseError(
            f"The data folder {folder} cannot be created ({error.strerror}). Set PERENNIAL_DATA_DIR to a folder "
            "that you may write to."
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise DatabaseError(f"PERENNIAL_DATA_DIR is {folder}, which is not a folder. Name a folder.")
    _check_ours(folder, found.st_uid, account)
    if account.switches and found.st_uid != account.uid:
        os.chown(folder, account.uid, account.gid)
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    _check_reachable(folder, account)


def _check_ours(folder: Path, owner: int, account: Account) -> None:
    acceptable = {account.uid, 0} if account.switches else {account.uid}
    if owner not in acceptable:
        raise DatabaseError(
            f"The data folder {folder} belongs to {user_name(owner)}, not to {user_name(account.uid)}. Run Perennial "
            "as its owner, or set PERENNIAL_DATA_DIR to another folder."
        )
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".secret.key")} - HARMLESS
    if names and not names.intersection(OUR_FILES):
        raise DatabaseError(
            f"The folder {folder} is not a data folder of Perennial: it holds other things. Set PERENNIAL_DATA_DIR "
            "to an empty folder, or to one that does not exist yet."
        )


def _check_reachable(folder: Path, account: Account) -> None:
    """As root: can the system user get there at all? Asked of the system itself, which also knows about ACLs."""
    if not account.switches:
        return
    tried = account.run(("/bin/sh", "-c", 'cd -- "$1"', "sh", folder), folder=Path("/"), timeout_seconds=30)
    if tried.returncode != 0:
        raise DatabaseError(
            f"The system user '{account.name}', whom the database runs as, cannot reach the data folder {folder}: a "
            "folder above it is private. Set PERENNIAL_DATA_DIR to a folder such as /var/lib/perennial, or run "
            "Perennial as an ordinary user."
        )


def user_name(uid: int) -> str:
    """A user's name for a message, or their number when they have none."""
    try:
        return f"the user '{pwd.getpwuid(uid).pw_name}'"
    except KeyError:
        return f"the user number {uid}"
