"""Other processes that share the embedded server, and a look at the server's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def postmaster(data_dir: Path) -> int:
    """The id of the server's process."""
    return int((data_dir / "pg18" / "postmaster.pid").read_text().split("\n", 1)[0])


def children_of(pid: int) -> list[int]:
    """The ids of the processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def is_alive(pid: int) -> bool:
    """False also for a process that has ended but that nobody has collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


class OtherProcess:
    """A process of its own that shares the server."""

    def __init__(self, data_dir: Path, *, user: str | None = None, modules: Sequence[Path] = ()) -> None:
        script = Path(__file__).with_name("server_process.py")
        self.process = subprocess.Popen(
            [sys.executable, script, data_dir, *([user] if user else [])],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*modules, ROOT]))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self._line()

    def tell(self, order: str) -> str:
        """Gives an order and waits for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Waits for its end and lets go of its pipes."""
        self.process.communicate(timeout=30)
