"""Sends our GraphQL documents to one shop, within its cost bucket, and turns refusals into our errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TypeVar

import aiohttp
import msgspec

from connectors.base import Secret, StoreAccess
from connectors.shopify.access import AccessToken, base_url
from connectors.shopify.documents import API_VERSION, document, may_repeat
from connectors.shopify.failures import GraphqlError, NotRunError, error_for_graphql, error_for_status
from connectors.shopify.pace import Cost, CostBucket
from rewards.errors import RetryLaterError

T = TypeVar("T")

_log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_DEFAULT_PATIENCE_SECONDS = 60.0
_MOST_TRIES = 8


class _Extensions(msgspec.Struct):
    cost: Cost = msgspec.field(default_factory=Cost)


class _Answer(msgspec.Struct):
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    errors: list[GraphqlError] = []
    extensions: _Extensions = msgspec.field(default_factory=_Extensions)


_ANSWER = msgspec.json.Decoder(_Answer)


class ShopifyClient:
    """One shop's GraphQL Admin API. Raises only PlatformError."""

    def __init__(self, access: StoreAccess, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.has_come = access.has_come
        self._token = AccessToken(access, session)
        self._url = f"{base_url(access.external_id, access.api_base)}/admin/api/{API_VERSION}/graphql.json"
        self._bucket = CostBucket(access.turns)
        self.answered_version = API_VERSION
        self._patience = float(access.options.settings.get("patience_seconds", _DEFAULT_PATIENCE_SECONDS))

    async def call(self, name: str, variables: Mapping[str, object], data: type[T]) -> T:
        """Runs operations/NAME.graphql and reads its `data` as the given type.

        Tries again within the store's patience: where it is unknown whether the first try has run, only documents
        that may run twice.
        """
        deadline = time.monotonic() + self._patience
        tries = 0
        while True:
            tries += 1
            try:
                return await self._run(name, variables, data, deadline)
            except RetryLaterError as error:
                wait = error.retry_after_seconds or min(0.25 * 2**tries, 5.0)
                is_safe = isinstance(error, NotRunError) or may_repeat(name)
                if not is_safe or tries >= _MOST_TRIES or time.monotonic() + wait > deadline:
                    raise
                await asyncio.sleep(wait)

    async def maintain(self) -> None:
        """Keeps the access alive: see AccessToken.maintain."""
        await self._token.maintain()

    async def _run(self, name: str, variables: Mapping[str, object], data: type[T], deadline: float) -> T:
        answer = await self._send(name, variables, deadline)
        if any(error.extensions.code == "THROTTLED" for error in answer.errors):
            wait = await self._bucket.throttled(answer.extensions.cost)
            raise NotRunError("Shopify's rate limit is used up.", retry_after_seconds=wait)
        if answer.errors:
            raise error_for_graphql(answer.errors)
        try:
            return msgspec.json.decode(answer.data, type=data)
        except msgspec.MsgspecError:
            raise RetryLaterError("Shopify's answer has not the promised shape.") from None

    async def _send(self, name: str, variables: Mapping[str, object], deadline: float) -> _Answer:
        async with self._bucket.spend(name, deadline) as spent:
            answer = await self._post({"query": document(name), "variables": variables})
            spent.cost = answer.extensions.cost
        return answer

    async def _post(self, content: Mapping[str, object]) -> _Answer:
        body = msgspec.json.encode(content)
        token = await self._fresh_token()
        status, headers, text = await self._exchange(body, token)
        if status == 401 and self._token.drop(token):
            status, headers, text = await self._exchange(body, await self._fresh_token())
        if status != 200:
            error = error_for_status(status, headers)
            if isinstance(error, NotRunError):
                await self._bucket.pause(error.retry_after_seconds or 1.0)
            raise error
        self._note_version(headers.get("X-Shopify-API-Version", API_VERSION))
        try:
            return _ANSWER.decode(text)
        except msgspec.MsgspecError:
            raise RetryLaterError("Shopify's answer could not be read.") from None

    def _note_version(self, answered: str) -> None:
        """A version that Shopify has retired is answered by a later one, whose fields may mean something else."""
        if answered not in (self.answered_version, API_VERSION):
            _log.warning("Shopify answers in version %s instead of %s.", answered, API_VERSION)
        self.answered_version = answered

    async def _fresh_token(self) -> Secret:
        try:
            return await self._token.get()
        except RetryLaterError as error:
            raise NotRunError(str(error), retry_after_seconds=error.retry_after_seconds) from error

    async def _exchange(self, body: bytes, token: Secret) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Content-Type": "application/json", "X-Shopify-Access-Token": token.reveal()}
        try:
            async with self.session.post(
                self._url, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryLaterError("Shopify could not be reached.") from error
