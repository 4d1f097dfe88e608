"""The lane: a bare ASGI callable in front of the pages that takes `/webhooks/{platform}` and `/webhooks/{platform}/{token}`.

The pages' framework costs several times what a webhook itself does, and webhooks are most of the traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from webhooks.accept import Acceptor, RawHeaders
from webhooks.answers import TOO_SLOW, WRONG_METHOD, Answer

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/webhooks/"


class _Gone(Exception):
    """The sender closed the connection before its post was whole."""


class Lane:
    """Serves webhook posts itself and hands everything else, lifespan included, to the app behind it."""

    def __init__(self, acceptor: Acceptor, app: AsgiApp) -> None:
        self._acceptor = acceptor
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        platform, slash, token = scope["path"][len(PREFIX) :].partition("/")
        if not platform or "/" in token or (slash and not token):
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._serve(platform, token, scope, receive)
        except _Gone:
            return
        await _send(answer, send)

    async def _serve(self, platform: str, token: str, scope: Scope, receive: Receive) -> Answer:
        acceptor = self._acceptor
        if scope["method"] != "POST":
            return acceptor.count(platform, WRONG_METHOD)
        headers = scope["headers"]
        if declared_length(headers) > acceptor.limits.body_bytes:
            return acceptor.too_large(platform)
        try:
            async with asyncio.timeout(acceptor.limits.body_seconds):
                body = await _read(receive, acceptor.limits.body_bytes)
        except TimeoutError:
            return acceptor.count(platform, TOO_SLOW)
        if body is None:
            return acceptor.too_large(platform)
        return await acceptor.accept(platform, token, headers, body)


def declared_length(headers: RawHeaders) -> int:
    """The length that the sender announces; 0 when it announces none."""
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _read(receive: Receive, most_bytes: int) -> bytes | None:
    """The whole body, or None as soon as it is longer than allowed."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body if len(body) <= most_bytes else None
    chunks = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise _Gone
        chunks += message.get("body", b"")
        if len(chunks) > most_bytes:
            return None
        if not message.get("more_body"):
            return bytes(chunks)
        message = await receive()


async def _send(answer: Answer, send: Send) -> None:
    body = answer.reason.encode()
    headers = [(name.encode(), value.encode()) for name, value in answer.headers().items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
