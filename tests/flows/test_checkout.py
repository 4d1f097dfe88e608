"""Codes at the store's own checkout: they work once, for whom they are, while they are good, and only then count."""

from __future__ import annotations

import pytest

from connectors.base import Capability
from sandbox.server import Sandbox
from tests.flows.stage import Shop, Stage


async def with_codes(stage: Stage, kind: type[Sandbox]) -> Shop:
    """A shop whose members of today's birthday have their codes."""
    shop = await stage.open(kind, customers=90, orders=60, birthday_share=1.0)
    await shop.rewards("birthday", validity_days=10)
    await stage.tick()
    found = await shop.codes()
    assert len(found) >= 2
    assert {code["state"] for code in found} == {"pushed"}
    assert shop.sandbox.codes_in_store() == len(found)
    return shop


async def states(shop: Shop) -> list[str]:
    """The states of all grants, oldest first."""
    return [code["state"] for code in await shop.codes()]


@pytest.mark.feature("S-13", "S-25")
async def test_the_right_customer_redeems_once_at_the_usual_checkout(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await with_codes(stage, kind)
    mine, theirs, *_ = await shop.codes()
    await shop.ask("faults", repeat_webhooks=3)
    await shop.buys(mine["email"], 5_000, mine["code"].lower())
    await stage.settle()
    assert await states(shop) == ["redeemed", *["pushed"] * (len(await states(shop)) - 1)]
    assert await shop.refused(mine["email"], mine["code"]) == "used_up"
    assert await shop.refused(mine["email"], theirs["code"]) == "wrong_customer"
    assert await shop.refused(mine["email"], "NO-SUCH-CODE") == "unknown_code"
    await shop.ask("replay")
    await stage.settle()
    assert (await states(shop)).count("redeemed") == shop.sandbox.redemptions == 1


async def test_what_the_checkout_refuses_changes_nothing_here(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await with_codes(stage, kind)
    await shop.earns()
    mine, theirs, *_ = await shop.codes()
    before = await stage.rows("SELECT count(*) AS n FROM deliveries")
    assert await shop.refused(theirs["email"], mine["code"]) == "wrong_customer"
    await stage.settle()
    assert (await states(shop)).count("pushed") == len(await states(shop))
    assert await stage.rows("SELECT count(*) AS n FROM deliveries") == before
    await stage.days_pass(11, ticking=False)
    assert await shop.refused(mine["email"], mine["code"]) == "expired"
    assert (await shop.books()).net == {}
    given = len(await states(shop))
    await stage.tick()
    # The tick also gave what fell into those eleven days.
    assert set((await states(shop))[:given]) == {"expired"}
    assert await shop.refused(mine["email"], mine["code"]) == "expired"


async def test_a_code_works_until_the_end_of_its_last_day_in_the_store(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await with_codes(stage, kind)
    mine, *_ = await shop.codes()
    (found,) = await stage.rows("SELECT min(valid_until) AS at FROM grants")
    stage.clock.passes(seconds=(found["at"] - stage.clock()).total_seconds() - 60)
    await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    assert (await states(shop)).count("redeemed") == 1


async def test_a_cancelled_order_gives_its_code_back_where_the_platform_does(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await with_codes(stage, kind)
    mine, *_ = await shop.codes()
    order = await shop.buys(mine["email"], 5_000, mine["code"])
    await stage.settle()
    assert (await states(shop))[0] == "redeemed"
    await shop.ask("cancel", order=order)
    await stage.settle()
    if Capability.CODE_RETURNS_ON_CANCEL in stage.services.connector(shop.store).capabilities:
        assert (await states(shop))[0] == "pushed"
        await shop.buys(mine["email"], 5_000, mine["code"])
        await stage.settle()
    else:
        assert await shop.refused(mine["email"], mine["code"]) == "used_up"
    assert (await states(shop)).count("redeemed") == 1
    assert (await states(shop))[0] == "redeemed"
