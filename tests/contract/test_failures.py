"""What every connector makes of a platform's failures: come back later, access gone, or refused for good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from connectors.base import Noun
from rewards.errors import AccessRevokedError, PlatformError, RefusedError, RetryLaterError
from sandbox.world import Seed
from tests.contract.case import ContractCase
from tests.contract.shops import Shop, draft, open_shop

SEED = Seed(number=5, customers=12, orders=15)
ALWAYS = 100_000


async def facts(shop: Shop) -> object:
    return await shop.store.facts()


async def history(shop: Shop) -> object:
    return await shop.history(Noun.ORDERS)


CALLS = [facts, history]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["throttle", "server_errors", "cut", "malformed"])
async def test_a_short_trouble_is_lived_through(
    case: ContractCase, fault: str, call: Callable[[Shop], Awaitable[object]]
) -> None:
    async with open_shop(case, SEED) as shop:
        setattr(shop.sandbox.faults, fault, 1)
        assert await call(shop)
        assert getattr(shop.sandbox.faults, fault) == 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["throttle", "server_errors", "cut", "malformed"])
async def test_a_trouble_longer_than_patience_is_for_later(
    case: ContractCase, fault: str, call: Callable[[Shop], Awaitable[object]]
) -> None:
    async with open_shop(case, SEED, settings={"patience_seconds": "0.3"}) as shop:
        setattr(shop.sandbox.faults, fault, ALWAYS)
        async with asyncio.timeout(15):
            with pytest.raises(RetryLaterError):
                await call(shop)


async def test_without_patience_nothing_is_tried_twice(case: ContractCase) -> None:
    async with open_shop(case, SEED, settings={"patience_seconds": "0"}) as shop:
        shop.sandbox.faults.server_errors = ALWAYS
        before = shop.sandbox.requests
        with pytest.raises(RetryLaterError):
            await shop.store.facts()
        assert shop.sandbox.requests == before + 1


@pytest.mark.parametrize("call", CALLS)
async def test_a_revoked_key_is_told_at_once(
    case: ContractCase, call: Callable[[Shop], Awaitable[object]]
) -> None:
    async with open_shop(case, SEED) as shop:
        shop.sandbox.faults.refuse_credentials = True
        before = shop.sandbox.requests
        with pytest.raises(AccessRevokedError):
            await call(shop)
        assert shop.sandbox.requests <= before + 2


@pytest.mark.parametrize("call", CALLS)
async def test_a_forbidden_call_is_not_tried_again(
    case: ContractCase, call: Callable[[Shop], Awaitable[object]]
) -> None:
    async with open_shop(case, SEED) as shop:
        shop.sandbox.faults.forbid = True
        with pytest.raises((AccessRevokedError, RefusedError)):
            await call(shop)


async def test_a_shop_that_is_not_there_is_for_later(case: ContractCase) -> None:
    async with open_shop(case, SEED, settings={"patience_seconds": "0.3"}) as shop:
        await shop.sandbox.stop()
        with pytest.raises(RetryLaterError):
            await shop.store.facts()


@pytest.mark.parametrize("fault", ["refuse_credentials", "forbid", "server_errors", "cut", "malformed"])
async def test_errors_hold_no_secret(case: ContractCase, fault: str) -> None:
    async with open_shop(case, SEED, settings={"patience_seconds": "0"}) as shop:
        setattr(shop.sandbox.faults, fault, ALWAYS)
        with pytest.raises(PlatformError) as caught:
            await shop.store.facts()
        answers = shop.sandbox.connect_answers()
        options = case.connector.install.options
        secrets = [answers[option.flag] for option in options if option.is_secret and option.flag in answers]
        assert secrets
        told = f"{caught.value!r} {caught.value.__cause__!r} {shop.store!r}"
        assert not [secret for secret in secrets if secret in told]


@pytest.mark.parametrize("fault", ["server_errors", "cut", "malformed", "throttle"])
async def test_a_push_whose_answer_is_lost_makes_one_coupon(case: ContractCase, fault: str) -> None:
    async with open_shop(case, SEED) as shop:
        wanted = [draft(customer) for customer in await shop.customers(2)]
        setattr(shop.sandbox.faults, fault, 1)
        pushed = await shop.store.push(wanted)
        assert [code.refused for code in pushed] == [None, None]
        assert shop.sandbox.codes_in_store() == 2
