"""Several pushes under way at a time, where a platform's pace would wait for the last answer of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from connectors.stripe import CONNECTOR
from rewards.errors import RetryLaterError
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from storage.database import Database
from storage.secrets import SecretBox
from storage.stores import StoreRow
from sync import occasions
from sync.history import run_import
from sync.push import PushReport, push_store
from sync.services import Services
from tests.sync.shops import Clock, install, reward_for, rows, services_for

MEMBERS, SIZE = 30, 5


@dataclass
class Account:
    """A Stripe stand-in whose thirty customers have their birthday today, with codes decided for all."""

    services: Services
    sandbox: StripeSandbox
    store: StoreRow
    clock: Clock

    async def pushed(self) -> int:
        """How many codes are known to be in the store."""
        found = await rows(
            self.services.database,
            "SELECT count(external_id) AS known, count(DISTINCT external_id) AS different FROM promotion_codes",
        )
        ((known, different),) = found
        assert known == different
        return int(known)


@pytest.fixture
async def account(services: Services, database: Database, secret_box: SecretBox) -> AsyncIterator[Account]:
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    connector = replace(CONNECTOR, push_size=SIZE)
    ours = services_for(database, services.session, secret_box, clock, [connector])
    async with StripeSandbox(World(Seed(customers=MEMBERS, orders=MEMBERS, now=clock.now))) as sandbox:
        sandbox.limiter_on = False
        store = await install(ours, sandbox)
        await run_import(ours, store.id)
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE members SET birthday_md = %s, birthday_set_by = 'store' WHERE has_account",
                (clock.now.month * 100 + clock.now.day,),
            )
        await reward_for(ours, store, lead_days=2)
        assert (await occasions.run(ours)).grants == MEMBERS
        yield Account(ours, sandbox, store, clock)


async def test_every_code_is_made_and_recorded_once(account: Account) -> None:
    seen: list[tuple[int, int]] = []
    report = await push_store(
        account.services, account.store.id, progress=lambda done, total: seen.append((done, total))
    )
    assert report == PushReport(pushed=MEMBERS)
    assert seen == [(done, MEMBERS) for done in range(SIZE, MEMBERS + 1, SIZE)]
    assert (await account.pushed(), account.sandbox.codes_in_store()) == (MEMBERS, MEMBERS)


@pytest.mark.parametrize("spare", [4, 9, 14, 19, 24])
async def test_what_one_push_was_answered_is_kept_when_another_fails(account: Account, spare: int) -> None:
    faults = account.sandbox.faults
    faults.spare, faults.server_errors = spare, 1_000
    with pytest.raises(RetryLaterError):
        await push_store(account.services, account.store.id)
    made, known = account.sandbox.codes_in_store(), await account.pushed()
    assert known % SIZE == 0, "a push that failed tells of none of its codes"
    assert made - known < CONNECTOR.pushes_at_once * SIZE
    faults.server_errors = 0
    account.clock.pass_days(0.1)  # past when the store is to be asked again
    assert await push_store(account.services, account.store.id) == PushReport(pushed=MEMBERS - known)
    assert (await account.pushed(), account.sandbox.codes_in_store()) == (MEMBERS, MEMBERS)
