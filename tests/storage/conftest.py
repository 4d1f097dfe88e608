"""Folders that the database's system user can reach, also when the tests run as root."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder whose name is short and to which everybody may go."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data_dir(open_folder: Path) -> Path:
    """Where a data folder may be made."""
    return open_folder / "data"
