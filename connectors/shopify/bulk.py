"""History by bulk operation: Shopify writes a file, we stream it line by line.

Source: shopify.dev/docs/api/usage/bulk-operations/queries. A cursor is {"operation": its gid, "lines": how many lines
are stored, "after": the id after which it begins}, so a crash takes up the same file; its address lasts seven days.
What a failed export has written until then is read, and the next one goes on after it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NewType

import aiohttp
import msgspec

from connectors.base import Page
from connectors.shopify.client import ShopifyClient
from connectors.shopify.documents import bulk_document
from connectors.shopify.failures import UserError, error_for_status, refusal
from connectors.shopify.webhooks import finished_key
from rewards.changes import Change
from rewards.errors import AppError, PlatformError, RefusedError, RetryLaterError

_PAGE = 2_000
_BLOCK_BYTES = 1 << 18
_FIRST_POLL_SECONDS, _SLOWEST_POLL_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 15.0, 600.0
_LISTEN_SECONDS = 0.5  # between looks for the post that tells of the end, which cost Shopify nothing
# No limit in all: a large file takes long; but a silent connection is a cut one.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
_ID = re.compile(rb'^\{"id":"gid://shopify/\w+/(\d+)"', re.MULTILINE)

Operation = NewType("Operation", str)


@dataclass(frozen=True)
class Export:
    """What is exported: documents under operations/, a search, and how a line becomes a change.

    Each document asks for less than the one before, of what names people; the first that the app may run is used.
    """

    documents: Sequence[str]
    search: str
    line: type[Any]
    change: Callable[[Any], Change]
    metafield: tuple[str, str] | None = None


@dataclass
class _Place:
    """Where the reading is: lines stored of an operation, which began after an id; the last id seen, while they rise."""

    operation: Operation | None = None
    lines: int = 0
    after: int = 0
    asks_less: int = 0  # which of the export's documents
    last: int = field(default=0, compare=False)

    @classmethod
    def of(cls, cursor: Mapping[str, object] | None) -> _Place:
        if cursor is None:
            return cls()
        return cls(
            operation=Operation(str(cursor["operation"])),
            lines=int(str(cursor["lines"])),
            after=int(str(cursor.get("after", 0))),
            asks_less=int(str(cursor.get("document", 0))),
        )

    def cursor(self) -> Mapping[str, object]:
        return {
            "operation": self.operation,
            "lines": self.lines,
            "after": self.after,
            "document": self.asks_less,
        }


class _ResultGoneError(Exception):
    """The operation has no usable result any more: a new one must be started."""


class _DeniedError(Exception):
    """The operation may not read some of what it asks for."""


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
    partial_data_url: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.status == "COMPLETED"


class _PollData(msgspec.Struct, rename="camel"):
    bulk_operation: _Operation | None = None


async def read_export(
    client: ShopifyClient, export: Export, after: Mapping[str, object] | None, one_file: asyncio.Lock
) -> AsyncIterator[Page]:
    """The export's pages. The first is empty: it only stores which operation to take up after a crash.

    `one_file` is held while the file is read, and while its pages wait to be taken.
    """
    place = _Place.of(after)
    while True:
        operation, is_new = place.operation, place.operation is None
        if operation is None:
            operation = await _start(client, export, place)
            place = replace(place, operation=operation, lines=0, last=0)
            yield Page((), place.cursor())
        try:
            found = await _ended(client, operation)
            async with one_file:
                async for page in _pages(client.session, found, export, place):
                    yield page
            if found.is_whole:
                return
            place = _beyond(place, is_new=is_new)
        except _DeniedError:
            if place.asks_less + 1 == len(export.documents):
                raise RefusedError(
                    "The app lacks a permission to read this part of the shop: grant it and connect again.",
                    code="ACCESS_DENIED",
                ) from None
            place = _Place(asks_less=place.asks_less + 1)
        except _ResultGoneError as gone:
            if is_new:
                raise _no_result() from gone
            place = replace(place, operation=None)


def _beyond(place: _Place, *, is_new: bool) -> _Place:
    """Where to go on when an export has ended early: after its last line if lines come by rising ids, else anew."""
    if place.last > place.after:
        return replace(place, operation=None, after=place.last)
    if is_new:
        raise _no_result()
    return replace(place, operation=None)


def _no_result() -> RetryLaterError:
    return RetryLaterError("Shopify's export ended without a result.", retry_after_seconds=60)


async def _start(client: ShopifyClient, export: Export, place: _Place) -> Operation:
    name = export.documents[place.asks_less]
    begins = f"id:>={place.after + 1}" if place.after else ""
    search = " AND ".join(part for part in (begins, export.search) if part)
    text = bulk_document(name, search, export.metafield)
    data = await client.call("bulk_run", {"query": text}, _RunData)
    run = data.bulk_operation_run_query
    if any(error.code in ("OPERATION_IN_PROGRESS", "LIMIT_REACHED") for error in run.user_errors):
        raise RetryLaterError("Shopify is busy with other exports of this app.", retry_after_seconds=15)
    if run.user_errors:
        raise refusal(run.user_errors)
    if run.bulk_operation is None:
        raise RetryLaterError("Shopify did not say which export it has started.")
    return Operation(run.bulk_operation.id)


async def _ended(client: ShopifyClient, operation: Operation) -> _Operation:
    """Waits for the end of the export. It may have ended early, with a part of the file."""
    pause, until = _FIRST_POLL_SECONDS, time.monotonic() + _LONGEST_WAIT_SECONDS
    while True:
        found = (await client.call("bulk_poll", {"id": operation}, _PollData)).bulk_operation
        if found is None:
            raise _ResultGoneError
        if found.status == "FAILED" and found.error_code == "ACCESS_DENIED":
            raise _DeniedError
        if found.status in ("FAILED", "CANCELED", "EXPIRED") and found.partial_data_url is None:
            raise _ResultGoneError
        if found.status in ("COMPLETED", "FAILED", "CANCELED", "EXPIRED"):
            return found
        if time.monotonic() > until:
            raise RetryLaterError("Shopify is still writing the export.", retry_after_seconds=30)
        await _pause(client, operation, pause)
        pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)


async def _pause(client: ShopifyClient, operation: Operation, seconds: float) -> None:
    """Waits until the next poll, or until a post has told of the export's end; one that is lost costs only the wait."""
    left = seconds
    while left > _LISTEN_SECONDS and client.has_come is not None:
        await asyncio.sleep(_LISTEN_SECONDS)
        if await client.has_come(finished_key(operation)):
            return
        left -= _LISTEN_SECONDS
    await asyncio.sleep(left)


async def _pages(
    session: aiohttp.ClientSession, found: _Operation, export: Export, place: _Place
) -> AsyncIterator[Page]:
    """The pages of a file beyond the lines that are stored; moves the place on."""
    decoder = msgspec.json.Decoder(export.line)
    pending: list[Change] = []
    url = found.url if found.is_whole else found.partial_data_url
    if url is not None:
        blocks = _blocks(session, url, is_whole=found.is_whole)
        if not found.is_whole:
            blocks = _noting(blocks, place)
        async for block in _blocks_after(blocks, place.lines):
            pending.extend(_changes(decoder, export.change, block))
            if len(pending) >= _PAGE:
                place.lines += len(pending)
                yield Page(pending, place.cursor())
                pending = []
    if found.is_whole:
        yield Page(pending, None)
    elif pending:
        place.lines += len(pending)
        yield Page(pending, place.cursor())


async def _noting(blocks: AsyncIterator[bytes], place: _Place) -> AsyncIterator[bytes]:
    """The blocks as they are; notes the last id of a file whose ids rise from line to line, and none where they do not."""
    rises, last = True, 0
    async for block in blocks:
        ids = [last, *map(int, _ID.findall(block))]
        rises = rises and len(ids) == block.count(b"\n") + 1
        rises = rises and all(one < two for one, two in pairwise(ids))
        last = ids[-1]
        place.last = last if rises else 0
        yield block


def _changes(
    decoder: msgspec.json.Decoder[Any], change: Callable[[Any], Change], block: bytes
) -> list[Change]:
    try:
        return [change(line) for line in decoder.decode_lines(block)]
    except (msgspec.MsgspecError, ValueError, AppError) as error:
        if isinstance(error, PlatformError):
            raise
        raise RetryLaterError("A line of Shopify's export could not be read.") from None


async def _blocks(session: aiohttp.ClientSession, url: str, *, is_whole: bool) -> AsyncIterator[bytes]:
    """The file in blocks of whole lines; a part of a file may end within one, which is left out.

    The address is signed: no token goes with it.
    """
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
    if tail and is_whole:
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
