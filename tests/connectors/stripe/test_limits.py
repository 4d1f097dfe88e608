"""The pace of requests: budgets for account and endpoint, and what each of Stripe's refusals makes wait."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest

from connectors.base import Secret, Store, StoreAccess, StoreOptions
from connectors.stripe import CONNECTOR, errors
from connectors.stripe.errors import SlowDownError, Waiting
from connectors.stripe.limits import Limits
from connectors.turns import Budgets, LocalTurns, MemoryShelf
from rewards.errors import RetryLaterError
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from tests.connectors.stripe.browser import Browser
from tests.connectors.stripe.drafts import draft

SMALL = Seed(customers=20, orders=40, number=17)


async def seconds_for(limits: Limits, endpoints: list[str]) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(limits.turn(endpoint) for endpoint in endpoints))
    return clock() - began


async def test_a_live_endpoint_has_its_own_pace_beside_the_accounts() -> None:
    """Eight requests on each of three endpoints: each at 25 a second, none waiting for the others."""
    seconds = await seconds_for(Limits(LocalTurns(), is_live=True), ["a", "b", "c"] * 8)
    assert 7 / 25 <= seconds < 3 * 7 / 25


async def test_live_endpoints_together_keep_to_a_hundred_a_second() -> None:
    names = [f"endpoint {n}" for n in range(40)]
    assert await seconds_for(Limits(LocalTurns(), is_live=True), names) >= 39 / 100


async def test_in_test_mode_all_endpoints_share_one_pace() -> None:
    assert await seconds_for(Limits(LocalTurns(), is_live=False), ["a", "b", "c"] * 3) >= 8 / 25


async def test_a_pace_of_nothing_is_no_limit() -> None:
    limits = Limits(LocalTurns(), is_live=False, requests_per_second=0)
    assert await seconds_for(limits, ["a"] * 500) < 1


async def test_requests_that_are_late_do_not_meet_those_on_time_in_one_second() -> None:
    """The process stands still for a while: what it had to send then goes at once, but not on top of the rate."""
    limits, clock = (
        Limits(LocalTurns(), is_live=False, requests_per_second=40),
        asyncio.get_running_loop().time,
    )
    sent: list[float] = []

    async def send() -> None:
        await limits.turn("a")
        sent.append(clock())
        if len(sent) == 10:
            time.sleep(0.2)  # noqa: ASYNC251 - as a busy machine would

    await asyncio.gather(*(send() for _ in range(60)))
    assert sent[17] - sent[10] < 0.1, "they were late, and went at once"
    assert all(later - first >= 1 for first, later in zip(sent, sent[40:], strict=False))


REASONS = {
    "global-rate": Waiting.ACCOUNT,
    "global-concurrency": Waiting.ACCOUNT,
    "endpoint-rate": Waiting.ENDPOINT,
    "endpoint-concurrency": Waiting.ENDPOINT,
    "resource-specific": Waiting.ENDPOINT,
    "something-new": Waiting.ACCOUNT,
}


@pytest.mark.parametrize(("reason", "whom"), REASONS.items())
def test_the_reason_of_a_429_says_who_must_wait(reason: str, whom: Waiting) -> None:
    error = errors.from_answer(429, "{}", {"Stripe-Rate-Limited-Reason": reason})
    assert isinstance(error, SlowDownError)
    assert (error.whom, error.retry_after_seconds) == (whom, 1.0)
    assert ("(" + reason + ")" in str(error)) == (reason != "something-new")


@pytest.mark.parametrize(("status", "code"), [(429, "lock_timeout"), (409, "idempotency_key_in_use")])
def test_what_another_request_holds_makes_only_this_one_wait(status: int, code: str) -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "code": code, "message": "busy"}})
    error = errors.from_answer(status, body, {})
    assert isinstance(error, SlowDownError)
    assert (error.whom, error.retry_after_seconds) == (Waiting.REQUEST, 0.5)


async def waited(limits: Limits, whom: Waiting, endpoint: str) -> float:
    """How long a request to the endpoint waits after a refusal of "refused"."""
    await limits.slow_down("refused", SlowDownError("Later.", whom=whom, retry_after_seconds=0.4), 0.4)
    return await seconds_for(limits, [endpoint])


@pytest.mark.parametrize(
    ("whom", "same", "other"),
    [(Waiting.ACCOUNT, True, True), (Waiting.ENDPOINT, True, False), (Waiting.REQUEST, False, False)],
)
async def test_a_refusal_holds_back_those_it_is_about_and_nobody_else(
    whom: Waiting, same: bool, other: bool
) -> None:
    for endpoint, waits in (("refused", same), ("other", other)):
        seconds = await waited(Limits(LocalTurns(), is_live=True), whom, endpoint)
        assert (seconds >= 0.39) is waits, endpoint


async def test_in_test_mode_an_endpoints_refusal_holds_back_everything() -> None:
    assert await waited(Limits(LocalTurns(), is_live=False), Waiting.ENDPOINT, "other") >= 0.39


def store_on(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, turns: Budgets, **settings: str
) -> Store:
    options = StoreOptions("EUR", "Europe/Madrid", {"patience_seconds": "20", **settings})
    access = StoreAccess("acct_1", {"api_key": Secret(sandbox.key)}, options, sandbox.url, turns)
    return CONNECTOR.open_store(access, session)


@pytest.mark.parametrize("reason", [*REASONS, "lock_timeout"])
async def test_each_kind_of_429_is_lived_through(reason: str) -> None:
    async with (
        StripeSandbox(World(SMALL, base_is_total=True)) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        sandbox.throttled_as = reason
        store = store_on(sandbox, session, LocalTurns(), requests_per_second="0")
        sandbox.faults.throttle = 1
        assert not await store.is_subscribed("https://nobody.example")
        sandbox.faults.throttle = 1
        with pytest.raises(RetryLaterError):
            await store_on(
                sandbox, session, LocalTurns(), requests_per_second="0", patience_seconds="0"
            ).is_subscribed("https://nobody.example")


def leave_room(sandbox: StripeSandbox) -> None:
    """Lets a fifth more through than Stripe does: on a busy machine some of 25 requests come late, and meet others.

    How much of the limit we use, and that nothing is refused at the limit itself, is measured by `make bench`.
    """
    sandbox.limiter.in_all = 30
    if sandbox.limiter.per_endpoint is not None:
        sandbox.limiter.per_endpoint = 30


@pytest.mark.parametrize("mode", ["test", "live"])
async def test_several_processes_keep_to_the_limit_together(mode: str) -> None:
    """Three stores over one shelf are three processes of one account; each alone would take all of it."""
    async with (
        StripeSandbox(World(SMALL, base_is_total=True), mode=mode) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        leave_room(sandbox)
        shelf, count = MemoryShelf(), 13
        stores = [
            store_on(sandbox, session, Budgets(shelf), patience_seconds="0", mode=mode) for _ in range(3)
        ]

        async def ask(store: Store) -> None:
            for _ in range(count):
                await store.is_subscribed("https://nobody.example")

        await asyncio.gather(*(ask(store) for store in stores for _ in range(2)))
        assert (sandbox.requests, sandbox.requests_refused) == (6 * count, 0)


async def test_processes_share_the_pace_through_the_database(browser: Browser) -> None:
    """Each with its own line, as two workers have; each alone would take all of it."""
    assert (await browser.pastes(api_key=browser.sandbox.key))[0] == 200
    store, sandbox, count = await browser.store(), browser.sandbox, 10
    workers = [browser.worker().open_store(store) for _ in range(2)]
    leave_room(sandbox)
    sandbox.limiter_on, sandbox.requests = True, 0
    await asyncio.sleep(1)

    async def ask(opened: Store) -> None:
        for _ in range(count):
            await opened.is_subscribed("https://nobody.example")

    await asyncio.gather(*(ask(opened) for opened in workers for _ in range(2)))
    asked = 2 * 4 * count  # for the endpoint and for the event destination
    assert (sandbox.requests, sandbox.requests_refused) == (asked, 0)


def test_a_used_idempotency_key_with_other_parameters_is_a_spent_one() -> None:
    body = json.dumps({"error": {"type": "idempotency_error", "message": "Keys for idempotent requests …"}})
    error = errors.from_answer(400, body, {"Request-Id": "req_2"})
    assert isinstance(error, errors.SpentKeyError)
    assert (error.code, "req_2" in str(error)) == ("idempotency_error", True)


async def test_a_mistaken_idempotency_key_finds_the_code_that_is_there_and_makes_it_where_none_is(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = draft()
    (made,) = await store.push([wanted])
    sandbox.api.mistake_idempotency_keys()
    assert await store.push([wanted]) == [made]
    (code,) = (each for each in sandbox.account.codes if each.id == made.external_id)
    code.metadata.clear()  # somebody else's now, with our text
    (refused,) = await store.push([wanted])
    assert (refused.external_id, "resource_already_exists" in str(refused.refused)) == (None, True)
    code.switched_on = False
    sandbox.api.mistake_idempotency_keys()
    (anew,) = await store.push([wanted])
    assert (anew.refused, anew.external_id == made.external_id) == (None, False)
    assert (
        sum(each.active(sandbox.account.now) for each in sandbox.account.codes if each.code == code.code) == 1
    )
