"""What comes in from outside, built once in `app/wiring.py`; functions take the part they need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from weakref import WeakValueDictionary

import aiohttp

from connectors.base import Capability, Connector, Secret, Store, StoreAccess, StoreOptions
from connectors.turns import Budgets
from storage import deliveries, stores
from storage.database import Database
from storage.secrets import SecretBox
from storage.stores import StoreRow
from sync import keeper
from sync.keeper import StoreKeeper
from sync.turns import StoreBoard, StoreShelf

API_BASE = "api-base"  # the install option that names another server than the platform's own


@dataclass(frozen=True)
class Services:
    """The database, the platforms, the HTTP session, the clock (aware UTC) and the secrets key.

    `apps` are the operator's settings of each platform's app ("client_id"); `poll_minutes` is how often changes of
    stores are read whose platform cannot tell us of them.
    """

    database: Database
    connectors: Mapping[str, Connector]
    session: aiohttp.ClientSession  # to public addresses only, unless the operator allows all
    clock: Callable[[], datetime]
    secret_box: SecretBox
    public_url: str | None = None
    allow_private_hosts: bool = False
    apps: Mapping[str, Mapping[str, Secret]] = field(default_factory=dict)
    poll_minutes: int = 15
    operator_session: aiohttp.ClientSession | None = (
        None  # to servers that the operator named; None: `session`
    )
    # Whoever opens a store while it is open already stands in the same line.
    _budgets: MutableMapping[int, Budgets] = field(default_factory=WeakValueDictionary, repr=False)
    _boards: MutableMapping[int, StoreBoard] = field(default_factory=WeakValueDictionary, repr=False)
    _renewals: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(keeper.AT_ONCE), repr=False
    )

    def connector(self, store: StoreRow) -> Connector:
        """The connector of the store's platform."""
        return self.connectors[store.platform]

    def platforms_with(self, capability: Capability) -> list[str]:
        """The platforms that have it."""
        return [name for name, found in self.connectors.items() if capability in found.capabilities]

    def open_store(self, store: StoreRow) -> Store:
        """The store over its platform's API."""
        found = stores.credentials(self.secret_box, store)
        access = StoreAccess(
            external_id=store.external_id,
            credentials={name: Secret(value) for name, value in found.items()},
            options=options(store),
            api_base=store.api_base,
            turns=self._turns(store.id),
            board=self._board(store.id),
            keeper=StoreKeeper(self.database, self.secret_box, store.id, self._renewals),
            app=self.apps.get(store.platform, {}),
            subscription_ids=store.subscription_ids,
            has_come=partial(self._has_come, store.id),
        )
        connector = self.connector(store)
        return connector.open_store(access, self.session_for(connector, store.api_base))

    def session_for(self, connector: Connector, api_base: str | None) -> aiohttp.ClientSession:
        """What requests to a store's server go through.

        Where a platform's server is ours to name (`--api-base`), a name was given by the operator, at the command line or
        in the settings, and may be near us. A shop's own address is a merchant's word.
        """
        by_operator = api_base and any(option.flag == API_BASE for option in connector.install.options)
        return self.operator_session or self.session if by_operator else self.session

    async def _has_come(self, store_id: int, delivery_key: str) -> bool:
        async with self.database.transaction() as connection:
            return await deliveries.has_come(connection, store_id, delivery_key)

    def _turns(self, store_id: int) -> Budgets:
        turns = self._budgets.get(store_id)
        if turns is None:
            turns = self._budgets[store_id] = Budgets(StoreShelf(self.database, store_id))
        return turns

    def _board(self, store_id: int) -> StoreBoard:
        board = self._boards.get(store_id)
        if board is None:
            board = self._boards[store_id] = StoreBoard(self.database, store_id)
        return board


def options(store: StoreRow) -> StoreOptions:
    """The store's facts that change how its payloads are read."""
    return StoreOptions(currency=store.currency, time_zone=store.time_zone, settings=store.settings)
