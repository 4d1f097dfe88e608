"""What the pages of a platform get from us: the `Site` of connectors.web, over the services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import aiohttp

from connectors.base import Installation, Secret
from connectors.web import StoreSummary
from storage import stores, tickets
from storage.stores import StoreRow
from sync import install
from sync.services import Services
from sync.subscriptions import notices


@dataclass(frozen=True)
class PlatformSite:
    """One platform's site. `start_import` has a store's history read in the background, once the transaction is done."""

    services: Services
    platform: str
    start_import: install.Along

    @property
    def public_url(self) -> str | None:
        """See Site."""
        return self.services.public_url

    @property
    def app(self) -> Mapping[str, Secret]:
        """See Site."""
        return self.services.apps.get(self.platform, {})

    @property
    def session(self) -> aiohttp.ClientSession:
        """See Site."""
        return self.services.session

    @property
    def clock(self) -> Callable[[], datetime]:
        """See Site."""
        return self.services.clock

    @property
    def allow_private_hosts(self) -> bool:
        """See Site."""
        return self.services.allow_private_hosts

    async def ticket(self, data: Mapping[str, str], seconds: int) -> str:
        """See Site."""
        ends_at = self.services.clock() + timedelta(seconds=seconds)
        async with self.services.database.transaction() as connection:
            return await tickets.issue(
                connection, self.services.secret_box, self.platform, data, ends_at=ends_at
            )

    async def redeem(self, ticket: str, *, once: bool = True) -> Mapping[str, str] | None:
        """See Site."""
        async with self.services.database.transaction() as connection:
            return await tickets.redeem(
                connection,
                self.services.secret_box,
                self.platform,
                ticket,
                once=once,
                now=self.services.clock(),
            )

    async def amend(self, ticket: str, data: Mapping[str, str]) -> None:
        """See Site."""
        services = self.services
        async with services.database.transaction() as connection:
            await tickets.amend(
                connection, services.secret_box, self.platform, ticket, data, now=services.clock()
            )

    async def install(self, installation: Installation) -> StoreSummary:
        """See Site."""
        made = await install.install(self.services, self.platform, installation, along=self.start_import)
        summary = self._summary(made.store, is_new=made.is_new)
        if made.former is None:
            return summary
        came_along = f"It was connected at {made.former} before: its members, points and codes came along."
        return replace(summary, notes=(came_along, *summary.notes))

    async def store(self, external_id: str) -> StoreSummary | None:
        """See Site."""
        async with self.services.database.transaction() as connection:
            found = await stores.by_external_id(connection, self.platform, external_id)
        return None if found is None else self._summary(found)

    def _summary(self, store: StoreRow, *, is_new: bool = False) -> StoreSummary:
        return StoreSummary(
            store.id, store.name, is_new, notices(self.services, store), store.status, store.settings
        )
