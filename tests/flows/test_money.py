"""What codes give at the checkout, currencies without cents and with three, and guests who open an account."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.base import Capability
from rewards.errors import InvalidInputError
from rewards.records import Benefit, BenefitKind
from sandbox.server import Sandbox
from sandbox.world import EarningRule
from tests.flows.stage import Shop, Stage
from tests.flows.tills import RULE, points_of


async def with_benefit(stage: Stage, kind: type[Sandbox], benefit: Benefit) -> tuple[Shop, dict[str, Any]]:
    """A shop and somebody's code that gives this."""
    shop = await stage.open(kind, customers=60, orders=5, birthday_share=1.0)
    await shop.rewards("birthday", benefit=benefit)
    await shop.earns()
    await stage.tick()
    return shop, (await shop.codes())[0]


@pytest.mark.parametrize(
    ("benefit", "off_minor"),
    [
        (Benefit(BenefitKind.PERCENTAGE, basis_points=1_250), 625),
        (Benefit(BenefitKind.AMOUNT, amount_minor=750, currency="EUR", minimum_minor=2_000), 750),
        (Benefit(BenefitKind.PERCENTAGE, basis_points=10_000), 5_000),
    ],
    ids=["percentage", "amount", "everything"],
)
async def test_the_checkout_takes_off_what_the_reward_promised(
    stage: Stage, kind: type[Sandbox], benefit: Benefit, off_minor: int
) -> None:
    shop, mine = await with_benefit(stage, kind, benefit)
    basket = {"email": mine["email"], "code": mine["code"]}
    if benefit.minimum_minor:
        refused = await shop.ask("checkout", **basket, subtotal_minor=benefit.minimum_minor - 1)
        assert "error" in refused
    placed = await shop.ask("checkout", **basket, subtotal_minor=5_000)
    assert placed["discount_minor"] == off_minor
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"
    found = await stage.rows(
        "SELECT total_minor, discount_minor FROM orders WHERE external_id = %s", placed["order"]
    )
    assert [row["total_minor"] for row in found] == [placed["total_minor"]]


async def test_free_shipping_where_the_platform_has_it(stage: Stage, kind: type[Sandbox]) -> None:
    benefit = Benefit(BenefitKind.FREE_SHIPPING)
    able = stage.services.connectors[kind.platform].capabilities
    if Capability.FREE_SHIPPING not in able:
        with pytest.raises(InvalidInputError, match=r"free.shipping"):
            await with_benefit(stage, kind, benefit)
        return
    shop, mine = await with_benefit(stage, kind, benefit)
    plain = await shop.ask("checkout", email=mine["email"], subtotal_minor=5_000)
    free = await shop.ask("checkout", email=mine["email"], subtotal_minor=5_000, code=mine["code"])
    assert plain["total_minor"] - free["total_minor"] == 495
    await stage.settle()
    assert (await shop.codes())[0]["state"] == "redeemed"


@pytest.mark.parametrize(("currency", "unit"), [("JPY", 1), ("KWD", 1_000)])
async def test_currencies_without_cents_and_with_three(
    stage: Stage, kind: type[Sandbox], currency: str, unit: int
) -> None:
    shop = await stage.open(kind, customers=30, orders=120, currency=currency)
    assert shop.store.currency == currency
    rule = EarningRule(order_per_minor=unit)
    run = await shop.rewards_the_past()
    assert run.preview["points"] == shop.sandbox.world.expected_points(rule) > 0
    await shop.earns()
    order = await shop.buys(shop.sandbox.world.people[0].email, 12_340)
    await stage.settle()
    await shop.ask("refund", order=order, total_minor=2_000)
    await stage.settle()
    assert (await shop.books()).net[order] == points_of(shop.sandbox, order, rule)


async def test_a_guest_who_opens_an_account_is_one_member(stage: Stage, kind: type[Sandbox]) -> None:
    shop = await stage.open(kind, customers=5, orders=5)
    await shop.earns()
    order = await shop.buys("ada@people.example", 5_000)
    await stage.settle()
    await shop.ask("sign_up", name="Ada", email="Ada@People.example")
    later = await shop.buys("ada@people.example", 2_000)
    await stage.settle()
    expected = points_of(shop.sandbox, order) + points_of(shop.sandbox, later) + RULE.sign_up
    assert (await shop.books()).balances == {"ada@people.example": expected}
