"""Making and changing rewards: what a merchant asks for must be something that all of their stores can do."""

from __future__ import annotations

from connectors.base import Capability
from rewards.errors import InvalidInputError
from rewards.records import BenefitKind
from rewards.terms import RewardTerms
from storage import rewards, stores
from storage.database import Connection
from storage.rewards import RewardRow
from storage.stores import StoreRow
from sync.services import Services


async def create_reward(
    services: Services, program_id: int, *, name: str, trigger: str, terms: RewardTerms, actor: str
) -> RewardRow:
    """Adds a reward, switched on; the next occasions run gives it. Raises InvalidInputError."""
    async with services.database.transaction() as connection:
        await _check_stores(services, connection, program_id, terms)
        return await rewards.create(
            connection,
            program_id,
            name=name,
            trigger=trigger,
            terms=terms,
            now=services.clock(),
            actor=actor,
        )


async def change_reward(
    services: Services,
    program_id: int,
    reward_id: int,
    *,
    actor: str,
    name: str | None = None,
    terms: RewardTerms | None = None,
    is_on: bool | None = None,
) -> RewardRow:
    """Changes what is given; grants made before keep theirs. Raises NotFoundError and InvalidInputError."""
    async with services.database.transaction() as connection:
        if terms is not None:
            await _check_stores(services, connection, program_id, terms)
        return await rewards.change(
            connection,
            program_id,
            reward_id,
            now=services.clock(),
            actor=actor,
            name=name,
            terms=terms,
            is_on=is_on,
        )


async def _check_stores(
    services: Services, connection: Connection, program_id: int, terms: RewardTerms
) -> None:
    for store in await stores.every(connection):
        if store.program_id == program_id and store.status != "uninstalled":
            _check_store(store, services.connector(store).capabilities, terms)


def _check_store(store: StoreRow, capabilities: frozenset[Capability], terms: RewardTerms) -> None:
    benefit = terms.benefit
    if Capability.WRITE_CODES not in capabilities:
        raise InvalidInputError(f"Codes cannot be put into the store {store.name}.")
    if benefit.kind is BenefitKind.FREE_SHIPPING and Capability.FREE_SHIPPING not in capabilities:
        raise InvalidInputError(
            f"The store {store.name} has no free shipping by code; give a percentage or an amount."
        )
    has_amount = benefit.kind is BenefitKind.AMOUNT or bool(benefit.minimum_minor)
    if has_amount and (benefit.currency or "").upper() != store.currency.upper():
        raise InvalidInputError(
            f"The store {store.name} sells in {store.currency.upper()}: give the amount in it, or a percentage."
        )
