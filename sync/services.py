"""What comes in from outside, built once in `app/wiring.py`; functions take the part they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from connectors.base import Connector, Secret, Store, StoreAccess, StoreOptions
from storage import stores
from storage.database import Database
from storage.secrets import SecretBox
from storage.stores import StoreRow


@dataclass(frozen=True)
class Services:
    """The database, the platforms, the HTTP session, the clock (aware UTC) and the secrets key."""

    database: Database
    connectors: Mapping[str, Connector]
    session: aiohttp.ClientSession
    clock: Callable[[], datetime]
    secret_box: SecretBox
    public_url: str | None = None
    allow_private_hosts: bool = False

    def connector(self, store: StoreRow) -> Connector:
        """The connector of the store's platform."""
        return self.connectors[store.platform]

    def open_store(self, store: StoreRow) -> Store:
        """The store over its platform's API."""
        found = stores.credentials(self.secret_box, store)
        access = StoreAccess(
            external_id=store.external_id,
            credentials={name: Secret(value) for name, value in found.items()},
            options=options(store),
            api_base=store.api_base,
        )
        return self.connector(store).open_store(access, self.session)


def options(store: StoreRow) -> StoreOptions:
    """The store's facts that change how its payloads are read."""
    return StoreOptions(currency=store.currency, time_zone=store.time_zone, settings=store.settings)
