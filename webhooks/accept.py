"""Decides on one webhook post: finds the store, checks the signature, keeps the post, and says how to answer.

The lane and the Quart route both end here, so that they cannot differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from connectors.base import AWAITS_PING, Connector, RawDelivery, Secret, WebhookReader
from rewards.errors import (
    AppError,
    BadSignatureError,
    MalformedDeliveryError,
    UnknownStoreError,
)
from storage import stores
from storage.deliveries import NewDelivery
from sync.services import Services
from webhooks.answers import KEPT, NOTHING_KEPT, OF_ANOTHER_APP, PONG, Answer, Counts
from webhooks.inbox import GroupCommit, InboxLimits
from webhooks.known_stores import KnownStore, KnownStores
from webhooks.wakeups import Wake, Wakeups

RawHeaders = Iterable[tuple[bytes, bytes]]

# Of no use to a reader of the kept post: what the transport says, and what proxies on the way add.
_NOT_KEPT = frozenset(
    b"accept accept-encoding accept-language authorization connection content-length cookie forwarded host "
    b"proxy-authorization transfer-encoding via x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip".split()
)

# A wrong signature, or an unknown address, makes us read the store again, but not more often than this.
_FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """The largest body, and how long a sender waits: the strictest platform gives five seconds in all."""

    body_bytes: int = 2 * 1024 * 1024
    body_seconds: float = 10.0
    answer_seconds: float = 4.0
    retry_after_seconds: int = 5
    inbox: InboxLimits = field(default_factory=InboxLimits)


class Acceptor:
    """Accepts posts for every platform. `wake` asks for a drain of a store: ("drain", store id)."""

    def __init__(self, services: Services, wake: Wake, limits: AcceptLimits | None = None) -> None:
        self.limits = limits or AcceptLimits()
        self.counts = Counts()
        self._services = services
        self._wakeups = Wakeups(wake)
        self._inbox = GroupCommit(
            services.database, self._wakeups, self.limits.inbox, answer_seconds=self.limits.answer_seconds
        )
        self._stores = KnownStores(services.database, services.secret_box)

    async def close(self) -> None:
        """Commits what waits and sends the wake-ups that are due; call it before the database closes."""
        await self._inbox.close()
        await self._stores.close()
        await self._wakeups.close()

    async def accept(self, platform: str, token: str, headers: RawHeaders, body: bytes) -> Answer:
        """The answer to one whole post; 200 means that it is committed (now or by an earlier repeat)."""
        try:
            answer = await self._decide(platform, RawDelivery(_named(headers), body, token))
        except BadSignatureError:
            answer = Answer(401, "The signature does not fit.")
        except UnknownStoreError as error:
            answer = Answer(404, str(error))
        except MalformedDeliveryError as error:
            answer = Answer(400, str(error))
        except (AppError, psycopg.OperationalError, psycopg.InterfaceError, TimeoutError):
            # The database, or a sealed secret that our key does not open: ours to mend, and the post must come again.
            answer = self._later()
        return self.count(platform, answer)

    def too_large(self, platform: str) -> Answer:
        """The answer to a body over the limit."""
        reason = f"The body is larger than {self.limits.body_bytes} bytes."
        return self.count(platform, Answer(413, reason, closes=True))

    def count(self, platform: str, answer: Answer) -> Answer:
        """Counts an answer, also those that are given before a post is whole."""
        known = platform if platform in self._services.connectors else "unknown"
        self.counts.add(known, answer.status)
        return answer

    async def _decide(self, platform: str, delivery: RawDelivery) -> Answer:
        connector = self._services.connectors.get(platform)
        if connector is None:
            raise UnknownStoreError("No such platform is served here.")
        reader = connector.webhooks
        if reader.is_ping(delivery):
            await self._hear(platform, reader, delivery)
            return PONG
        claim = reader.claimed_store(delivery)
        of_app = self._app_secrets(connector)
        store = self._stores.remembered(platform, claim)
        if store is not None and self._is_signed(reader, delivery, _signers(connector, store, of_app)):
            await self._inbox.keep(self._post(reader, delivery, store))
            return KEPT
        async with asyncio.timeout(self.limits.answer_seconds):
            # Read anew also when we know the store: its secret may just have been exchanged.
            store = await self._stores.find(platform, claim, younger_than_seconds=_FRESH_SECONDS)
            if store is None:
                return self._of_nobody(reader, delivery, of_app)
            if not self._is_signed(reader, delivery, _signers(connector, store, of_app)):
                if self._is_signed(reader, delivery, of_app):
                    return OF_ANOTHER_APP
                raise BadSignatureError("No secret of the store signed this.")
            await self._inbox.keep(self._post(reader, delivery, store))
        return KEPT

    async def _hear(self, platform: str, reader: WebhookReader, delivery: RawDelivery) -> None:
        """Notes that the platform reaches us at this store's address, before the answer: somebody waits for that.

        Whatever fails, the ping is answered: that we are there is all it asks.
        """
        with suppress(AppError, psycopg.OperationalError, psycopg.InterfaceError, TimeoutError):
            async with asyncio.timeout(self.limits.answer_seconds):
                token = reader.claimed_store(delivery).token
                # Not by the known stores: this one is about to get its secret, and would be remembered without it.
                async with self._services.database.transaction() as connection:
                    await stores.drop_setting(connection, platform, token or "", AWAITS_PING)

    def _is_signed(self, reader: WebhookReader, delivery: RawDelivery, secrets: Sequence[Secret]) -> bool:
        if not secrets:
            return False
        try:
            reader.verify(delivery, secrets, self._services.clock())
        except BadSignatureError:
            return False
        return True

    def _of_nobody(self, reader: WebhookReader, delivery: RawDelivery, of_app: Sequence[Secret]) -> Answer:
        """The answer to a post of no store of ours; one that the app's own secret signs is not sent again."""
        if not of_app:
            raise UnknownStoreError("No installed store answers to this address.")
        if not self._is_signed(reader, delivery, of_app):
            raise BadSignatureError("No secret of the app signed this.")
        return NOTHING_KEPT

    def _app_secrets(self, connector: Connector) -> Sequence[Secret]:
        """The operator's secrets that sign posts of every store of this platform."""
        given = self._services.apps.get(connector.platform, {})
        return [given[name] for name in connector.app_secrets if given.get(name)]

    def _post(self, reader: WebhookReader, delivery: RawDelivery, store: KnownStore) -> NewDelivery:
        return NewDelivery(
            store_id=store.id,
            delivery_key=reader.delivery_key(delivery),
            topic=reader.topic(delivery),
            headers=delivery.headers,
            body=delivery.body,
            received_at=self._services.clock(),
        )

    def _later(self) -> Answer:
        retry_after = self.limits.retry_after_seconds
        return Answer(503, "The post could not be kept now; send it again.", retry_after_seconds=retry_after)


def _signers(connector: Connector, store: KnownStore, of_app: Sequence[Secret]) -> Sequence[Secret]:
    """What may sign the store's posts: its own secrets, and the operator's where it is the operator's app that it has."""
    return (*store.secrets, *of_app) if connector.app_signs(store.settings) else store.secrets


def _named(headers: RawHeaders) -> dict[str, str]:
    """The header fields that are worth keeping; of a repeated field the last. ASGI gives names in lower case."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name not in _NOT_KEPT
    }
