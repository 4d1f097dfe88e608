"""History by bulk operation: Shopify writes a file, we stream it line by line.

Source: shopify.dev/docs/api/usage/bulk-operations/queries. A cursor is {"operation": its gid, "lines": how many lines
are stored}, so a crash takes up the same file; its address lasts seven days.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType

import aiohttp
import msgspec

from connectors.base import Page
from connectors.shopify.client import ShopifyClient
from connectors.shopify.documents import bulk_document
from connectors.shopify.failures import UserError, error_for_status, refusal
from rewards.changes import Change
from rewards.errors import AppError, PlatformError, RefusedError, RetryLaterError

_PAGE = 2_000
_BLOCK_BYTES = 1 << 18
_FIRST_POLL_SECONDS, _SLOWEST_POLL_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 5.0, 600.0
# No limit in all: a large file takes long; but a silent connection is a cut one.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)

Operation = NewType("Operation", str)


@dataclass(frozen=True)
class Export:
    """What is exported: the document under operations/, its search, and how a line becomes a change."""

    document: str
    search: str
    line: type[Any]
    change: Callable[[Any], Change]


class _ResultGoneError(Exception):
    """The operation has no usable result any more: a new one must be started."""


class _Started(msgspec.Struct):
    id: str


class _Run(msgspec.Struct, rename="camel"):
    user_errors: list[UserError]
    bulk_operation: _Started | None = None


class _RunData(msgspec.Struct, rename="camel"):
    bulk_operation_run_query: _Run


class _Operation(msgspec.Struct, rename="camel"):
    status: str
    error_code: str | None = None
    url: str | None = None


class _PollData(msgspec.Struct, rename="camel"):
    bulk_operation: _Operation | None = None


async def read_export(
    client: ShopifyClient, export: Export, after: Mapping[str, object] | None
) -> AsyncIterator[Page]:
    """The export's pages. The first is empty: it only stores which operation to take up after a crash."""
    operation = Operation(str(after["operation"])) if after else None
    lines = int(str(after["lines"])) if after else 0
    while True:
        is_new = operation is None
        if operation is None:
            operation, lines = await _start(client, export), 0
            yield Page((), _cursor(operation, 0))
        try:
            url = await _finished(client, operation)
            async for page in _pages(client.session, url, export, operation, lines):
                yield page
            return
        except _ResultGoneError as gone:
            if is_new:
                raise RetryLaterError(
                    "Shopify's export ended without a result.", retry_after_seconds=60
                ) from gone
            operation = None


async def _start(client: ShopifyClient, export: Export) -> Operation:
    text = bulk_document(export.document, export.search)
    data = await client.call("bulk_run", {"query": text}, _RunData)
    run = data.bulk_operation_run_query
    if any(error.code in ("OPERATION_IN_PROGRESS", "LIMIT_REACHED") for error in run.user_errors):
        raise RetryLaterError("Shopify is busy with other exports of this app.", retry_after_seconds=15)
    if run.user_errors:
        raise refusal(run.user_errors)
    if run.bulk_operation is None:
        raise RetryLaterError("Shopify did not say which export it has started.")
    return Operation(run.bulk_operation.id)


async def _finished(client: ShopifyClient, operation: Operation) -> str | None:
    """Waits for the end of the export; the file's address, None when there was nothing to export."""
    pause, until = _FIRST_POLL_SECONDS, time.monotonic() + _LONGEST_WAIT_SECONDS
    while True:
        found = (await client.call("bulk_poll", {"id": operation}, _PollData)).bulk_operation
        if found is None or found.status in ("CANCELED", "CANCELING", "EXPIRED"):
            raise _ResultGoneError
        if found.status == "COMPLETED":
            return found.url
        if found.status == "FAILED":
            if found.error_code == "ACCESS_DENIED":
                raise RefusedError(
                    "The app lacks a permission to read this part of the shop: grant it and connect again.",
                    code="ACCESS_DENIED",
                )
            raise _ResultGoneError
        if time.monotonic() > until:
            raise RetryLaterError("Shopify is still writing the export.", retry_after_seconds=30)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)


async def _pages(
    session: aiohttp.ClientSession, url: str | None, export: Export, operation: Operation, lines: int
) -> AsyncIterator[Page]:
    decoder = msgspec.json.Decoder(export.line)
    pending: list[Change] = []
    if url is not None:
        async for block in _blocks_after(_blocks(session, url), lines):
            pending.extend(_changes(decoder, export.change, block))
            if len(pending) >= _PAGE:
                lines += len(pending)
                yield Page(pending, _cursor(operation, lines))
                pending = []
    yield Page(pending, None)


def _changes(
    decoder: msgspec.json.Decoder[Any], change: Callable[[Any], Change], block: bytes
) -> list[Change]:
    try:
        return [change(line) for line in decoder.decode_lines(block)]
    except (msgspec.MsgspecError, ValueError, AppError) as error:
        if isinstance(error, PlatformError):
            raise
        raise RetryLaterError("A line of Shopify's export could not be read.") from None


async def _blocks(session: aiohttp.ClientSession, url: str) -> AsyncIterator[bytes]:
    """The file in blocks of whole lines. The address is signed: no token goes with it."""
    tail = b""
    try:
        async with session.get(url, timeout=_TIMEOUT) as answer:
            if answer.status in (400, 403, 404, 410):
                raise _ResultGoneError
            if answer.status != 200:
                raise error_for_status(answer.status, answer.headers)
            async for chunk in answer.content.iter_chunked(_BLOCK_BYTES):
                end = chunk.rfind(b"\n") + 1
                if end:
                    yield tail + chunk[:end]
                    tail = chunk[end:]
                else:
                    tail += chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise RetryLaterError("The connection to Shopify's export was cut.") from error
    if tail:
        yield tail


async def _blocks_after(blocks: AsyncIterator[bytes], skip: int) -> AsyncIterator[bytes]:
    """The blocks without the first `skip` lines, which are counted but not decoded."""
    async for block in blocks:
        if skip:
            count = block.count(b"\n") + (not block.endswith(b"\n"))
            if count <= skip:
                skip -= count
                continue
            block = block.split(b"\n", skip)[-1]
            skip = 0
        yield block


def _cursor(operation: Operation, lines: int) -> Mapping[str, object]:
    return {"operation": operation, "lines": lines}
