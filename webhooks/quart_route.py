"""The same webhook addresses as a Quart blueprint, for apps that are mounted without the lane."""

from __future__ import annotations

import asyncio

from quart import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from webhooks.accept import Acceptor
from webhooks.answers import TOO_SLOW, WRONG_METHOD, Answer
from webhooks.lane import declared_length

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def webhook_routes(acceptor: Acceptor) -> Blueprint:
    """The blueprint; its answers are those of the lane."""
    routes = Blueprint("webhooks", __name__, url_prefix="/webhooks")

    # All methods, so that a wrong one is answered and counted here.
    @routes.route("/<platform>", methods=_METHODS, provide_automatic_options=False)
    @routes.route("/<platform>/<token>", methods=_METHODS, provide_automatic_options=False)
    async def take(platform: str, token: str = "") -> Response:
        answer = await _serve(acceptor, platform, token)
        return Response(answer.reason, status=answer.status, headers=answer.headers())

    return routes


async def _serve(acceptor: Acceptor, platform: str, token: str) -> Answer:
    if request.method != "POST":
        return acceptor.count(platform, WRONG_METHOD)
    headers = request.scope["headers"]
    if declared_length(headers) > acceptor.limits.body_bytes:
        return acceptor.too_large(platform)
    try:
        async with asyncio.timeout(acceptor.limits.body_seconds):
            body = await _read(acceptor.limits.body_bytes)
    except TimeoutError:
        return acceptor.count(platform, TOO_SLOW)
    if body is None:
        return acceptor.too_large(platform)
    return await acceptor.accept(platform, token, headers, body)


async def _read(most_bytes: int) -> bytes | None:
    chunks = bytearray()
    try:
        async for chunk in request.body:
            chunks += chunk
            if len(chunks) > most_bytes:
                return None
    except RequestEntityTooLarge:
        return None  # Quart has a limit of its own, for an app whose limit is lower than ours
    return bytes(chunks)
