"""An order with a grant's code redeems the grant, once, whatever comes first and whatever is cancelled."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rewards.changes import Change, CustomerSaved, OrderDeleted, OrderSaved
from rewards.occasions import birthday
from rewards.records import Order, OrderStatus
from rewards.returns import CodeReturns
from storage import grants
from storage.grants import PushOutcome
from storage.stores import StoreRow
from sync import occasions
from sync.history import run_import
from sync.push import push_store
from sync.services import Services
from tests.factories import NOON, customer, make_program, make_store, new_store, order
from tests.sync.shops import Clock, Shop, reward_for, rows, told

State = tuple[str, datetime | None, str | None]


async def granted(services: Services, platform: str = "woocommerce") -> tuple[StoreRow, str]:
    """A store in which Ada's code has been pushed (by what the store would have said); the code."""
    async with services.database.transaction() as connection:
        program_id = await make_program(connection)
        store = await make_store(connection, program_id, platform=platform)
    await reward_for(services, store)
    await told(services, store, CustomerSaved(customer("1", birthday=birthday(6, 15))))
    await occasions.run(services, store_id=store.id)
    ((code,),) = await rows(
        services.database, "SELECT code FROM promotion_codes WHERE store_id = %s", store.id
    )
    return store, code


async def pushed(services: Services, store: StoreRow, external_id: str = "promo_Ada1") -> None:
    """The store's answer to the push is kept."""
    ((grant_id,),) = await rows(services.database, "SELECT id FROM grants WHERE store_id = %s", store.id)
    async with services.database.transaction() as connection:
        await grants.record_push(
            connection,
            store.id,
            [PushOutcome(grant_id, external_id, "coupon_1", None)],
            returns=CodeReturns(by_platform=store.platform == "woocommerce"),
            now=services.clock(),
        )


def used(external_id: str, code: str, minutes: int, **changes: object) -> Order:
    """An order with the code, placed so many minutes after noon, and paid two minutes later."""
    at = NOON + timedelta(minutes=minutes)
    paid_at = at + timedelta(minutes=2)
    return order(
        external_id,
        codes=(code.lower(),),
        placed_at=at,
        paid_at=paid_at,
        source_updated_at=paid_at,
        **changes,
    )


def cancelled(found: Order) -> Order:
    """The order's later state."""
    at = (found.paid_at or found.placed_at) + timedelta(minutes=30)
    return replace(
        found, status=OrderStatus.CANCELLED, status_given="cancelled", cancelled_at=at, source_updated_at=at
    )


async def state(services: Services, store: StoreRow) -> State:
    """State, time of redemption and external id of the redeeming order."""
    ((found, at, external_id),) = await rows(
        services.database,
        """SELECT g.state, g.redeemed_at, o.external_id FROM grants g
           LEFT JOIN orders o ON o.id = g.redeemed_order_id WHERE g.store_id = %s""",
        store.id,
    )
    return found, at, external_id


async def test_an_order_with_the_code_redeems_the_grant_once(services: Services) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    first = await told(services, store, OrderSaved(used("7", code, 5)))
    again = await told(services, store, OrderSaved(used("7", code, 5)))
    assert (first.redeemed, again.redeemed) == (1, 0)
    assert await state(services, store) == ("redeemed", NOON + timedelta(minutes=7), "7")


async def test_an_order_with_somebody_elses_code_redeems_nothing(services: Services) -> None:
    store, _ = await granted(services)
    await pushed(services, store)
    await told(services, store, OrderSaved(used("7", "SUMMER", 5)))
    assert (await state(services, store))[0] == "pushed"


@pytest.mark.parametrize("platform", ["woocommerce", "stripe"])
async def test_the_outcome_does_not_depend_on_what_comes_first(
    services: Services, clock: Clock, platform: str
) -> None:
    """Two orders with the code, of which the earlier is cancelled: all orders of telling end alike."""
    clock.now = NOON
    told_of: list[Change] = [
        OrderSaved(used("7", "code", 5)),
        OrderSaved(cancelled(used("7", "code", 5))),
        OrderSaved(used("8", "code", 50)),
    ]
    outcomes = set()
    for arrangement in itertools.permutations(range(3)):
        for position in (0, 2, 3):  # when the answer to the push is kept
            store, code = await granted(services, platform)
            for number, index in enumerate(arrangement):
                if number == position:
                    await pushed(services, store)
                await told(services, store, _with_code(told_of[index], code))
            if position == 3:
                await pushed(services, store)
            outcomes.add(await state(services, store))
    redeeming = "8" if platform == "woocommerce" else "7"
    minutes = 52 if platform == "woocommerce" else 7
    assert outcomes == {("redeemed", NOON + timedelta(minutes=minutes), redeeming)}


def _with_code(change: Change, code: str) -> Change:
    assert isinstance(change, OrderSaved)
    return OrderSaved(replace(change.order, codes=(code.lower(),)))


@pytest.mark.parametrize("arrangement", list(itertools.permutations(range(2))))
async def test_a_cancelled_order_gives_the_code_back_where_the_platform_does(
    services: Services, arrangement: Sequence[int]
) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    changes = [OrderSaved(used("7", code, 5)), OrderSaved(cancelled(used("7", code, 5)))]
    for index in arrangement:
        await told(services, store, changes[index])
    assert await state(services, store) == ("pushed", None, None)


async def test_an_order_that_is_deleted_gives_the_code_back(services: Services) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    await told(services, store, OrderSaved(used("7", code, 5)))
    await told(services, store, OrderDeleted("7", NOON + timedelta(hours=1)))
    assert (await state(services, store))[0] == "pushed"


async def test_a_code_given_back_after_its_end_is_expired(services: Services, clock: Clock) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    await told(services, store, OrderSaved(used("7", code, 5)))
    clock.pass_days(60)
    await told(services, store, OrderSaved(cancelled(used("7", code, 5))))
    assert (await state(services, store))[0] == "expired"


async def test_a_redemption_told_late_counts_after_the_end(services: Services, clock: Clock) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    clock.pass_days(60)
    async with services.database.transaction() as connection:
        assert await grants.expire(connection, store.id, clock.now) == 1
    await told(services, store, OrderSaved(used("7", code, 5)))
    assert (await state(services, store))[0] == "redeemed"


async def test_a_platforms_id_of_the_code_is_as_good_as_its_text(services: Services) -> None:
    store, _ = await granted(services, "stripe")
    order_with_id = used("7", "", 5, currency="EUR")
    await told(services, store, OrderSaved(replace(order_with_id, codes=("promo_Ada1",))))
    assert (await state(services, store))[0] == "decided"
    await pushed(services, store)  # the order was here before the push's answer
    assert await state(services, store) == ("redeemed", NOON + timedelta(minutes=7), "7")


async def test_an_id_of_digits_is_not_taken_for_a_typed_code(services: Services) -> None:
    store, _ = await granted(services)
    await pushed(services, store, external_id="2026")
    await told(services, store, OrderSaved(replace(used("7", "", 5), codes=("2026",))))
    assert (await state(services, store))[0] == "pushed"


async def test_the_same_code_text_in_another_store_redeems_nothing(services: Services) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    other = await new_store(services.database)
    await told(services, other, OrderSaved(used("7", code, 5)), OrderSaved(used("8", "promo_Ada1", 5)))
    assert (await state(services, store))[0] == "pushed"
    await told(services, store, OrderSaved(cancelled(used("7", code, 5))))
    assert (await state(services, store))[0] == "pushed"


@pytest.mark.parametrize("comes_first", ["order", "answer"])
async def test_an_order_and_the_pushs_answer_at_the_same_moment_find_each_other(
    services: Services, comes_first: str
) -> None:
    """Each is written while the other is not committed yet; whoever comes second must see the first."""
    store, _ = await granted(services, "stripe")
    with_id = OrderSaved(replace(used("7", "", 5), codes=("promo_Ada1",)))

    async def tell() -> None:
        await told(services, store, with_id)

    async def answer() -> None:
        await pushed(services, store)

    first, second = (tell, answer) if comes_first == "order" else (answer, tell)
    async with services.database.transaction():
        await first()
        # Not in this transaction, which belongs to this task alone.
        waiting = asyncio.create_task(second())
        await until_done_or_waiting(services, waiting)
    await waiting
    assert (await state(services, store))[0] == "redeemed"


async def until_done_or_waiting(services: Services, task: asyncio.Task[None]) -> None:
    """Returns when the task has ended or waits for a lock of ours."""
    for _ in range(1_000):
        if task.done() or await rows(services.database, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it neither ended nor waits for a lock")


async def test_a_shoppers_checkout_redeems_and_cancelling_gives_back(shop: Shop) -> None:
    await reward_for(shop.services, shop.store)
    await occasions.run(shop.services)
    await push_store(shop.services, shop.store.id)
    (code, email), *_ = await rows(
        shop.database,
        """SELECT c.code, sc.email FROM grants g JOIN promotion_codes c ON c.grant_id = g.id
           JOIN store_customers sc ON sc.id = g.store_customer_id ORDER BY g.id""",
    )
    shop.clock.now += timedelta(hours=1)
    placed = await shop.ask("checkout", email=email, subtotal_minor=5_000, code=code)
    assert placed["discount_minor"] == 500
    again = await shop.ask("checkout", email=email, subtotal_minor=5_000, code=code)
    assert again == {"error": "used_up"}
    await run_import(shop.services, shop.store.id)
    await run_import(shop.services, shop.store.id)
    states = dict(await shop.grants())
    assert (states.pop(code), set(states.values())) == ("redeemed", {"pushed"})
    shop.clock.now += timedelta(hours=1)
    await shop.ask("cancel", order=placed["order"])
    await run_import(shop.services, shop.store.id)
    assert set(dict(await shop.grants()).values()) == {"pushed"}
    second = await shop.ask("checkout", email=email, subtotal_minor=5_000, code=code)
    assert second["discount_minor"] == 500


async def test_a_code_that_is_taken_off_an_order_is_given_back(services: Services) -> None:
    store, code = await granted(services)
    await pushed(services, store)
    with_code = used("7", code, 5)
    without = replace(with_code, codes=(), source_updated_at=NOON + timedelta(hours=1))
    await told(services, store, OrderSaved(with_code))
    await told(services, store, OrderSaved(without))
    assert (await state(services, store))[0] == "pushed"
