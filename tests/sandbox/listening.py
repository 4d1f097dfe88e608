"""A stand-in for Stripe that writes down what it is asked and answers, for Stripe's OpenAPI document to judge."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from aiohttp import web

from connectors.stripe.client import API_VERSION
from sandbox.server import Handler
from sandbox.stripe import StripeSandbox
from sandbox.stripe_limits import template
from sandbox.world import World
from tests.sandbox import v2_shapes
from tests.sandbox.openapi import DOCUMENT, Spec

# Of exchanges that are alike, so many are judged: pages of history differ only in their rows.
_ALIKE = 2
# Not in the document: OAuth, whose shapes the README gives with their source, and what only stand-ins have.
_ELSEWHERE = ("/oauth/", "/v1/oauth/", "/_sandbox/")


@dataclass(frozen=True)
class Exchange:
    """One request and its answer as they went over the wire."""

    method: str
    path: str
    query: str
    sent: str
    status: int
    received: bytes
    version: str | None  # the API version that was asked for

    @property
    def kind(self) -> tuple[str, str, str, str, int]:
        """What is equal for exchanges that differ only in values."""
        return self.method, template(self.path), _names(self.query), _names(self.sent), self.status


class Listening(StripeSandbox):
    """Writes down every exchange that gets past the made faults."""

    def __init__(
        self, world: World, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), mode: str = "test"
    ) -> None:
        super().__init__(world, clock=clock, mode=mode)
        self.exchanges: list[Exchange] = []

    @web.middleware
    async def _with_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        async def listened(asked: web.Request) -> web.StreamResponse:
            answer = await handler(asked)
            if isinstance(answer, web.Response) and not asked.path.startswith(_ELSEWHERE):
                sent, url = (await asked.read()).decode(), asked.rel_url
                body = answer.body if isinstance(answer.body, bytes) else b""
                version = asked.headers.get("Stripe-Version")
                self.exchanges.append(
                    Exchange(asked.method, url.path, url.raw_query_string, sent, answer.status, body, version)
                )
            return answer

        return await super()._with_faults(request, listened)


@cache
def the_document() -> Spec | None:
    """Stripe's document, read once; None where it is not."""
    return Spec() if DOCUMENT.exists() else None


def problems(exchanges: list[Exchange]) -> Iterator[str]:
    """What is wrong with the requests or their answers."""
    spec, seen = the_document(), Counter[object]()
    for each in exchanges if spec else ():
        assert spec
        seen[each.kind] += 1
        if seen[each.kind] > _ALIKE:
            continue
        if each.version != API_VERSION:
            yield f"asked {each.method} {each.path}: in version {each.version}"
        if each.path.startswith("/v2/"):
            found = v2_shapes.problems(each.method, each.status, each.sent, each.received)
            yield from (f"{each.method} {each.path}: {problem}" for problem in found)
            continue
        problems_found = spec.request(each.method, each.path, each.query, each.sent)
        # Stripe refuses what does not fit the document; so do its answers then.
        if each.status != 400:
            yield from (f"asked {each.method} {each.path}: {problem}" for problem in problems_found)
        answer = spec.answer(each.method, each.path, each.status, json.loads(each.received))
        yield from (f"answered {each.method} {each.path} {each.status}: {problem}" for problem in answer)


def _names(form: str) -> str:
    """The names of a query or form, without values."""
    return "&".join(sorted({re.sub("=.*", "", pair) for pair in form.split("&")}))
