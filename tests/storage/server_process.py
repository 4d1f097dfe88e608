"""A process that shares the embedded server: starts it, says where, and waits for its orders on standard input.

Run as `python server_process.py FOLDER [USER]`. Orders: `stop` (clean), `ensure`, `query`. As root it can become another
user, only after all is imported, since that user may not be able to read this Python.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from rewards.errors import DatabaseError
from storage.embedded import EmbeddedServer


async def _main(folder: Path) -> None:
    server = EmbeddedServer(folder, settings={"fsync": "off"})
    try:
        address = await server.start()
    except DatabaseError as error:
        print(f"refused: {error}", flush=True)
        return
    print(address.host, flush=True)
    while order := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if order == "stop":
            await server.stop()
            print("stopped", flush=True)
            return
        if order == "ensure":
            await server.ensure()
        with psycopg.connect(host=address.host, user=address.user, dbname=address.database) as connection:
            found = connection.execute("SELECT count(*) FROM notes").fetchone()
        print(found[0] if found else None, flush=True)


def _become(name: str) -> None:
    user = pwd.getpwnam(name)
    assert ThreadPoolExecutor  # asyncio loads it only when it is first used
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _become(sys.argv[2])
    asyncio.run(_main(Path(sys.argv[1])))
