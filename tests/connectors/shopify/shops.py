"""A stand-in shop opened through the connector, and what the core lends a connector: a keeper and pages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import aiohttp

from connectors.base import Credentials, Installation, Secret, StoreAccess, StoreOptions
from connectors.shopify import CONNECTOR
from connectors.shopify.store import ShopifyStore
from connectors.web import StoreSummary
from sandbox.shopify import CLIENT_ID, ShopifySandbox
from sandbox.world import Seed, World

SEED = Seed(number=8, customers=20, orders=30)


@dataclass
class OneKeeper:
    """Credentials in one place, renewed by one at a time, as the core's keeper does it with a row lock."""

    credentials: Credentials
    renewals: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def renew(
        self, stale: Credentials, ask: Callable[[Credentials], Awaitable[Credentials]]
    ) -> Credentials:
        async with self.turn:
            if dict(self.credentials) == dict(stale):
                self.credentials = await ask(self.credentials)
                self.renewals += 1
            return self.credentials


@dataclass
class Pages:
    """The Site of one operator: keeps what is installed."""

    session: aiohttp.ClientSession
    app: Mapping[str, Secret]
    public_url: str | None = "https://perennial.example"
    allow_private_hosts: bool = True
    installed: list[Installation] = field(default_factory=list)
    stores: dict[str, StoreSummary] = field(default_factory=dict)

    @property
    def clock(self) -> Callable[[], datetime]:
        return lambda: datetime.now(UTC)

    async def ticket(self, data: Mapping[str, str], seconds: int) -> str:
        raise NotImplementedError

    async def redeem(self, ticket: str, *, once: bool = True) -> Mapping[str, str] | None:
        raise NotImplementedError

    async def store(self, external_id: str) -> StoreSummary | None:
        return self.stores.get(external_id)

    async def install(self, installation: Installation) -> StoreSummary:
        self.installed.append(installation)
        is_new = installation.external_id not in self.stores
        summary = StoreSummary(7, "Ada's Shop", is_new)
        self.stores[installation.external_id] = replace(summary, is_new=False)
        return summary


@dataclass
class Shop:
    sandbox: ShopifySandbox
    session: aiohttp.ClientSession

    @property
    def app(self) -> dict[str, Secret]:
        """The operator's settings."""
        return {
            "client_id": Secret(CLIENT_ID),
            "client_secret": Secret(self.sandbox.client_secret),
            "api_base": Secret(self.sandbox.url),
        }

    def pages(self, **settings: str | None) -> Pages:
        """The operator's pages; a setting of None is not set."""
        app = {name: Secret(text) for name, text in settings.items() if text is not None}
        left = {name: secret for name, secret in self.app.items() if name not in settings}
        return Pages(self.session, left | app)

    async def connected(self, **settings: str) -> StoreAccess:
        """Access by client id and secret, as `perennial connect` gets it."""
        found = await CONNECTOR.install.installation(self.sandbox.connect_answers(), self.session)
        options = StoreOptions("EUR", "Europe/Madrid", {**found.settings, **settings})
        return StoreAccess(found.external_id, found.credentials, options, found.api_base)

    async def installed(self, **settings: str) -> StoreAccess:
        """Access as an installation from the App Store gives it, with a keeper."""
        found = self.sandbox.oauth.answer(
            {
                "client_id": CLIENT_ID,
                "client_secret": self.sandbox.client_secret,
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": self.sandbox.oauth.id_token(),
                "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
                "requested_token_type": "urn:shopify:params:oauth:token-type:offline-access-token",
                "expiring": "1",
            }
        )
        now = datetime.now(UTC)
        credentials = {
            "access_token": Secret(found["access_token"]),
            "access_ends_at": Secret(now.replace(year=now.year + 1).isoformat()),
            "refresh_token": Secret(found["refresh_token"]),
            "refresh_ends_at": Secret(now.replace(year=now.year + 1).isoformat()),
        }
        return StoreAccess(
            self.sandbox.shop,
            credentials,
            StoreOptions("EUR", "Europe/Madrid", {"webhooks": "app", **settings}),
            self.sandbox.url,
            keeper=OneKeeper(credentials),
            app=self.app,
        )

    def store(self, access: StoreAccess) -> ShopifyStore:
        return ShopifyStore(access, self.session)


@contextlib.asynccontextmanager
async def a_shop(seed: Seed = SEED) -> AsyncIterator[Shop]:
    """A stand-in shop that runs while the block does."""
    sandbox = ShopifySandbox(World(seed))
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Shop(sandbox, session)
    finally:
        await sandbox.stop()
