"""What only the lane itself decides: bodies that come in pieces, late, or never whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sync.services import Services
from tests.webhooks.posts import PLATFORM, Shop, Woken, order, raw, signed
from webhooks.accept import AcceptLimits, Acceptor
from webhooks.lane import Lane

Receive = Callable[[], Awaitable[dict[str, Any]]]


async def _answered(lane: Lane, shop: Shop, body: bytes, receive: Receive) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": shop.path, "headers": raw(signed(shop, body))}
    await lane(scope, receive, send)
    return sent


async def _no_pages(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the post was for the lane")


async def test_a_body_in_pieces_is_put_together(acceptor: Acceptor, shop: Shop) -> None:
    body = order(1)
    pieces = [body[:10], b"", body[10:100], body[100:]]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    sent = await _answered(Lane(acceptor, _no_pages), shop, body, receive)
    assert sent[0]["status"] == 200


async def test_a_body_that_does_not_come_is_given_up(services: Services, shop: Shop, woken: Woken) -> None:
    acceptor = Acceptor(services, woken, AcceptLimits(body_seconds=0.1))
    pieces = [b"{"]

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(), "more_body": True}

    sent = await _answered(Lane(acceptor, _no_pages), shop, b"{}", receive)
    assert sent[0]["status"] == 400
    assert (b"connection", b"close") in sent[0]["headers"]
    assert acceptor.counts == {(PLATFORM, 400): 1}
    await acceptor.close()


async def test_a_sender_that_hangs_up_gets_no_answer(acceptor: Acceptor, shop: Shop) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    assert await _answered(Lane(acceptor, _no_pages), shop, b"{}", receive) == []
    assert acceptor.counts == {}


async def test_everything_but_posts_goes_to_the_pages(acceptor: Acceptor) -> None:
    seen: list[str] = []

    async def pages(scope: Any, receive: Any, send: Any) -> None:
        seen.append(f"{scope['type']} {scope.get('path', '')}")

    lane = Lane(acceptor, pages)
    nothing: Any = None
    for scope in (
        {"type": "lifespan"},
        {"type": "websocket", "path": f"/webhooks/{PLATFORM}"},
        {"type": "http", "path": "/"},
        {"type": "http", "path": "/webhooks/"},
        {"type": "http", "path": f"/webhooks/{PLATFORM}/token/more"},
    ):
        await lane(scope, nothing, nothing)
    assert len(seen) == 5
