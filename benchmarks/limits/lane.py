"""The limit of the webhook lane: a bare ASGI callable that checks one known secret and commits in groups.

Imports nothing of the project. Writes the same rows as the lane, with one statement and one commit for all posts that
wait. Argument: the database's connection string.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from datetime import UTC, datetime

import msgspec
import psycopg
import uvicorn
import uvloop

SECRET = b"benchmark secret"
STORE = 1
NOT_KEPT = frozenset((b"host", b"accept", b"accept-encoding", b"content-length"))
KEEP = """INSERT INTO deliveries (store_id, delivery_key, topic, headers, body, received_at, state, attempts)
    SELECT store_id, delivery_key, topic, headers::jsonb, body, received_at, 'waiting', 0
    FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::timestamptz[])
         AS post (store_id, delivery_key, topic, headers, body, received_at)
    ON CONFLICT (store_id, delivery_key) DO NOTHING"""
START_200 = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
START_401 = {"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"4")]}


class Bare:
    """The callable, and the posts that wait for the next commit."""

    def __init__(self, connection):
        self.connection = connection
        self.waiting = []
        self.task = None

    async def __call__(self, scope, receive, send):
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"] if n not in NOT_KEPT}
        signature = base64.b64encode(hmac.digest(SECRET, body, hashlib.sha256))
        if not hmac.compare_digest(signature, headers["x-wc-webhook-signature"].encode()):
            await send(START_401)
        else:
            topic = headers["x-wc-webhook-topic"]
            key = hashlib.sha256(topic.encode() + b"\n" + body).hexdigest()
            kept = asyncio.get_running_loop().create_future()
            encoded = msgspec.json.encode(headers).decode()
            self.waiting.append((STORE, key, topic, encoded, body, datetime.now(UTC), kept))
            if self.task is None:
                self.task = asyncio.create_task(self.commit())
            await kept
            await send(START_200)
        await send({"type": "http.response.body", "body": b"kept"})

    async def commit(self):
        while self.waiting:
            batch, self.waiting = self.waiting[:500], self.waiting[500:]
            columns = list(zip(*batch, strict=True))
            # A statement alone is its own transaction.
            await self.connection.execute(KEEP, [list(column) for column in columns[:6]])
            for kept in columns[6]:
                kept.set_result(None)
        self.task = None


async def main(url):
    """Serves until standard input ends."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    server = uvicorn.Server(
        uvicorn.Config(
            Bare(connection), port=0, http="httptools", lifespan="off", log_config=None, access_log=False
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
