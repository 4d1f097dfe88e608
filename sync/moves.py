"""A store that is connected at another address than before is still the same store.

What shows it is in the store (`connectors.base.Traces`). A copy for trying things out holds the same, so the old address
counts too: while somebody still answers there, nothing is taken over without the operator's word.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.base import Connector, Installation
from connectors.besides import MARK, FollowsMoves, Traces
from rewards.errors import InvalidInputError
from storage import stores
from storage.stores import StoreRow
from sync.services import Services

_COPY = (
    "This shop holds webhooks of the store {store}, which still answers at {former}. If it has moved here, let the old "
    "address lead to the new one and connect again, or have the operator run `perennial connect {platform} --moved-from "
    "{id}`. If this is a copy for trying things out, first delete Perennial's webhooks in it, or it goes on telling of "
    "its orders as if they were the store's."
)
_UNPROVEN = (
    "This shop was connected before, at {former}, and nothing in it proves that to us (its webhooks are gone). Have the "
    "operator run `perennial connect {platform} --moved-from {id}`: then its members, points and codes come along."
)
_NOTHING_IN_COMMON = (
    "Nothing at this address shows that it is store {id}: neither webhooks of Perennial nor the shop's own id. Leave "
    "--moved-from out to connect it as a store of its own."
)


async def known_elsewhere(
    services: Services,
    connector: Connector,
    installation: Installation,
    *,
    by_operator: bool,
    moved_from: int | None,
) -> StoreRow | None:
    """The store of ours that has come to this installation's address, which no store of ours has yet.

    `moved_from`: the operator says which it is. Raises InvalidInputError where somebody has to decide, and PlatformError.
    """
    flow = connector.install
    if not isinstance(flow, FollowsMoves):
        if moved_from is not None:
            raise InvalidInputError("Stores of this platform keep their name; leave --moved-from out.")
        return None
    session = services.session_for(connector, installation.api_base)
    traces = await flow.traces(installation, session)
    by_token, by_mark = await _candidates(services, connector, traces)
    if moved_from is not None:
        return _named(moved_from, [*by_token, *by_mark])
    for store in by_token:
        if await flow.has_left(store.external_id, installation, session):
            return store
    if by_token:
        raise InvalidInputError(_said(_COPY, by_token[0]))
    for store in by_mark:
        if await flow.has_left(store.external_id, installation, session):
            if by_operator or _has_same_keys(services, store, installation):
                return store
            raise InvalidInputError(_said(_UNPROVEN, store))
    return None


async def _candidates(
    services: Services, connector: Connector, traces: Traces
) -> tuple[list[StoreRow], list[StoreRow]]:
    async with services.database.transaction() as connection:
        found = [await stores.by_token(connection, connector.platform, token) for token in traces.tokens]
        marked: list[StoreRow] = []
        if traces.mark:
            marked = await stores.by_setting(connection, connector.platform, MARK, traces.mark)
    return [store for store in found if store is not None], marked


def _named(store_id: int, candidates: Sequence[StoreRow]) -> StoreRow:
    for store in candidates:
        if store.id == store_id:
            return store
    raise InvalidInputError(_NOTHING_IN_COMMON.format(id=store_id))


def _has_same_keys(services: Services, store: StoreRow, installation: Installation) -> bool:
    """Whoever has its key has the store's secrets; its own id is seen by others too."""
    known = stores.credentials(services.secret_box, store)
    return known == {name: secret.reveal() for name, secret in installation.credentials.items()}


def _said(text: str, store: StoreRow) -> str:
    return text.format(store=store.name, former=store.external_id, platform=store.platform, id=store.id)
