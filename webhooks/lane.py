"""The lane: a bare ASGI callable in front of the pages that takes `/webhooks/{platform}` and `/webhooks/{platform}/{token}`.

The pages' framework costs several times what a webhook itself does, and webhooks are most of the traffic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
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
        headers, limits = scope["headers"], acceptor.limits
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body = message.get("body", b"")
        elif declared_length(headers) > limits.body_bytes:
            return acceptor.too_large(platform)
        else:
            # Only here, since a timer costs a fast event loop more than the whole check of a post.
            try:
                async with asyncio.timeout(limits.body_seconds):
                    body = await _whole(message, receive, limits.body_bytes)
            except TimeoutError:
                return acceptor.count(platform, TOO_SLOW)
        if len(body) > limits.body_bytes:
            return acceptor.too_large(platform)
        return await acceptor.accept(platform, token, headers, body)


def declared_length(headers: RawHeaders) -> int:
    """The length that the sender announces; 0 when it announces none."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _whole(message: Message, receive: Receive, most_bytes: int) -> bytes:
    """The whole body; of one that is longer than allowed, a little more than that."""
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        if len(body) > most_bytes or not message.get("more_body"):
            return bytes(body)
        message = await receive()


async def _send(answer: Answer, send: Send) -> None:
    start, body = _messages(answer)
    await send(start)
    await send(body)


@lru_cache(maxsize=64)
def _messages(answer: Answer) -> tuple[Message, Message]:
    """The answer as ASGI sends it: the same few over and over."""
    body = answer.reason.encode()
    headers = [(name.encode(), value.encode()) for name, value in answer.headers().items()]
    headers.append((b"content-length", str(len(body)).encode()))
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    return start, {"type": "http.response.body", "body": body}
