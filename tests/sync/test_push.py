"""Codes of grants get into the store once each, whatever happens on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import web

from rewards.changes import CustomerSaved
from rewards.errors import AccessRevokedError, RetryLaterError
from rewards.occasions import birthday
from sandbox.woocommerce import WooCommerceSandbox
from storage import stores
from storage.database import Database, DatabaseSettings
from sync import occasions
from sync.history import pause, run_import
from sync.push import PushReport, expire, push_store
from sync.services import Services
from tests.factories import customer
from tests.sync.shops import Clock, Shop, install, reward_for, rows, small_world, told


async def held(shop: Shop) -> dict[str, str]:
    """Our codes as the shop holds them: code in lower case → the one e-mail that may use it."""
    return {
        code: coupon.fields["email_restrictions"][0]
        for code, coupon in shop.sandbox.coupons.by_code.items()
        if code.startswith("bday-")
    }


async def test_codes_of_due_grants_are_in_the_store(shop: Shop) -> None:
    reward = await reward_for(shop.services, shop.store)
    given = (await occasions.run(shop.services)).grants
    seen: list[tuple[int, int]] = []
    report = await push_store(
        shop.services, shop.store.id, progress=lambda done, total: seen.append((done, total))
    )
    due = {person.email for person in shop.sandbox.world.birthdays_due(shop.clock.now.date(), 0)}
    assert given == len(due) >= 6
    assert report == PushReport(pushed=given)
    assert seen[-1] == (given, given)
    codes = await held(shop)
    assert set(codes.values()) == due
    assert {code.lower() for code, _ in await shop.grants()} == set(codes)
    assert {state for _, state in await shop.grants()} == {"pushed"}
    coupon = shop.sandbox.coupons.by_code[next(iter(codes))]
    assert (coupon.fields["amount"], coupon.fields["usage_limit"]) == ("10.00", 1)
    assert coupon.expires is not None
    assert coupon.expires.date() == shop.clock.now.date() + timedelta(days=reward.terms.validity_days)
    assert await push_store(shop.services, shop.store.id) == PushReport()
    stored = await rows(shop.database, "SELECT external_id FROM promotion_codes")
    assert {row[0] for row in stored} == {str(shop.sandbox.coupons.by_code[code].id) for code in codes}


async def test_a_crash_between_deciding_and_pushing_loses_and_doubles_nothing(
    shop: Shop, database_url: str
) -> None:
    await reward_for(shop.services, shop.store)
    await occasions.run(shop.services)
    decided = await shop.grants()
    # What is left of a process that died here is the database; another one takes over.
    other = await Database.open(DatabaseSettings(database_url, shop.database.settings.data_dir))
    try:
        survivor = replace(shop.services, database=other)
        await occasions.run(survivor)
        await push_store(survivor, shop.store.id)
    finally:
        await other.close()
    assert await shop.grants() == [(code, "pushed") for code, _ in decided]
    assert set(await held(shop)) == {code.lower() for code, _ in decided}


class Forgetful(WooCommerceSandbox):
    """Makes what a batch asks for, and then cuts the connection instead of answering."""

    answers_to_lose = 0
    batches = 0

    async def _batch_coupons(self, request: web.Request) -> web.Response:
        self.batches += 1
        answer = await super()._batch_coupons(request)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer


async def test_a_push_whose_answer_is_lost_makes_one_code(services: Services, clock: Clock) -> None:
    async with Forgetful(small_world(clock), clock=clock) as sandbox:
        store = await install(services, sandbox)
        await run_import(services, store.id)
        shop = Shop(services, sandbox, store, clock)
        await reward_for(services, store)
        given = (await occasions.run(services)).grants
        before = sandbox.batches
        sandbox.answers_to_lose = 1
        with pytest.raises(RetryLaterError):
            await push_store(services, store.id)
        made = await held(shop)
        assert len(made) == given
        assert {state for _, state in await shop.grants()} == {"decided"}
        assert await push_store(services, store.id) == PushReport()  # it waits
        clock.now += timedelta(minutes=2)
        assert await push_store(services, store.id) == PushReport(pushed=given)
        assert sandbox.batches == before + 2
        assert await held(shop) == made
        assert await rows(shop.database, "SELECT DISTINCT attempts FROM grants") == [(2,)]


async def test_a_store_that_does_not_answer_is_asked_again_when_it_says(shop: Shop) -> None:
    await reward_for(shop.services, shop.store)
    given = (await occasions.run(shop.services)).grants
    shop.sandbox.faults.throttle = 1
    with pytest.raises(RetryLaterError) as caught:
        await push_store(shop.services, shop.store.id)
    wait = caught.value.retry_after_seconds or 60
    waiting = await rows(shop.database, "SELECT DISTINCT state, try_after FROM grants")
    assert waiting == [("decided", shop.clock.now + timedelta(seconds=wait))]
    assert shop.sandbox.codes_in_store() == 0
    shop.clock.now += timedelta(seconds=wait)
    assert await push_store(shop.services, shop.store.id) == PushReport(pushed=given)


async def test_a_store_whose_key_is_revoked_is_paused(shop: Shop) -> None:
    await reward_for(shop.services, shop.store)
    given = (await occasions.run(shop.services)).grants
    shop.sandbox.faults.refuse_credentials = True
    with pytest.raises(AccessRevokedError):
        await push_store(shop.services, shop.store.id)
    ((status, reason),) = await rows(shop.database, "SELECT status, status_reason FROM stores")
    assert status == "paused"
    assert await rows(shop.database, "SELECT action, detail->>'reason' FROM audit_events WHERE action LIKE %s", "store.%") == [("store.paused", reason)]  # fmt: skip
    assert (await push_store(shop.services, shop.store.id)).skipped == "the store is paused"
    assert (await occasions.run(shop.services)).runs == []
    shop.sandbox.faults.refuse_credentials = False
    await rows(shop.database, "UPDATE stores SET status = 'active', status_reason = NULL RETURNING id")
    assert await push_store(shop.services, shop.store.id) == PushReport(pushed=given)


async def test_a_refused_code_fails_with_the_reason_and_the_others_go_in(shop: Shop) -> None:
    await told(
        shop.services,
        shop.store,
        CustomerSaved(customer("900001", email=None, birthday=birthday(6, 15))),
    )
    await reward_for(shop.services, shop.store)
    given = (await occasions.run(shop.services)).grants
    assert await push_store(shop.services, shop.store.id) == PushReport(pushed=given - 1, failed=1)
    ((reason, pushed_at),) = await rows(
        shop.database, "SELECT state_reason, pushed_at FROM grants WHERE state = 'failed'"
    )
    assert "e-mail" in reason
    assert pushed_at is None
    assert await push_store(shop.services, shop.store.id) == PushReport()


async def test_a_code_that_is_over_before_it_is_pushed_expires(shop: Shop) -> None:
    await reward_for(shop.services, shop.store, validity_days=2)
    given = (await occasions.run(shop.services)).grants
    shop.clock.pass_days(3)
    assert await push_store(shop.services, shop.store.id) == PushReport(expired=given)
    assert shop.sandbox.codes_in_store() == 0
    assert {state for _, state in await shop.grants()} == {"expired"}


async def test_codes_that_nobody_used_expire(shop: Shop) -> None:
    await reward_for(shop.services, shop.store, validity_days=2)
    given = (await occasions.run(shop.services)).grants
    await push_store(shop.services, shop.store.id)
    shop.clock.now = shop.clock.now.replace(day=17, hour=21, minute=59)  # 23:59 in Madrid
    assert await expire(shop.services) == 0
    shop.clock.now += timedelta(minutes=1)
    assert await expire(shop.services) == given
    assert {state for _, state in await shop.grants()} == {"expired"}


async def test_two_pushers_never_work_at_the_same_time(shop: Shop) -> None:
    await reward_for(shop.services, shop.store)
    given = (await occasions.run(shop.services)).grants
    shop.sandbox.busy_seconds = 0.05
    reports = await asyncio.gather(*(push_store(shop.services, shop.store.id) for _ in range(4)))
    assert sum(report.pushed for report in reports) == given
    assert {report.skipped for report in reports if not report.pushed} == {"another process is pushing"}
    assert shop.sandbox.codes_in_store() == given


async def test_a_grant_keeps_the_terms_that_it_was_made_with(shop: Shop) -> None:
    from storage import rewards

    reward = await reward_for(shop.services, shop.store)
    await occasions.run(shop.services)
    benefit = replace(reward.terms.benefit, basis_points=2_500)
    async with shop.database.transaction() as connection:
        await rewards.change(
            connection,
            shop.store.program_id,
            reward.id,
            now=shop.clock.now,
            actor="test",
            terms=replace(reward.terms, benefit=benefit),
        )
    await push_store(shop.services, shop.store.id)
    amounts = {shop.sandbox.coupons.by_code[code].fields["amount"] for code in await held(shop)}
    assert amounts == {"10.00"}


async def test_a_refused_key_does_not_pause_a_store_that_was_uninstalled_meanwhile(shop: Shop) -> None:
    async with shop.database.transaction() as connection:
        await stores.end(connection, shop.store.id, "Taken out.")
        await pause(connection, shop.store, "The key is refused.", shop.clock())
    assert await rows(shop.database, "SELECT status, status_reason FROM stores") == [
        ("uninstalled", "Taken out.")
    ]
    assert await rows(shop.database, "SELECT 1 FROM audit_events WHERE action = 'store.paused'") == []
