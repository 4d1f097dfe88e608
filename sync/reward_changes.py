"""Making and changing rewards: what a merchant asks for must be something that one of their stores can do."""

from __future__ import annotations

from rewards.terms import RewardTerms
from storage import rewards
from storage.rewards import RewardRow
from sync import abilities
from sync.services import Services


async def create_reward(
    services: Services, program_id: int, *, name: str, trigger: str, terms: RewardTerms, actor: str
) -> RewardRow:
    """Adds a reward, switched on; the next occasions run gives it. Raises InvalidInputError."""
    await abilities.ask_stores(services, program_id, terms)
    await abilities.check_what_is_named(services, program_id, terms)
    async with services.database.transaction() as connection:
        await abilities.check(services, connection, program_id, terms)
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
    if terms is not None:
        await abilities.ask_stores(services, program_id, terms)
        await abilities.check_what_is_named(services, program_id, terms)
    async with services.database.transaction() as connection:
        if terms is not None:
            await abilities.check(services, connection, program_id, terms)
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
