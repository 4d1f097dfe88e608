"""What every connector does with personal codes: one per key, for its customer only, found, switched off, mended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Capability
from rewards.differences import code_difference
from rewards.records import BenefitKind, Binding, Customer, PushedCode
from sandbox.server import CheckoutRefused
from sandbox.world import Seed
from tests.contract.case import ContractCase
from tests.contract.shops import Shop, draft, known, open_shop

SEED = Seed(number=6, customers=30, orders=20)


def buy(shop: Shop, customer: Customer, code: str) -> str:
    """The customer orders with the code; the order's id, or CheckoutRefused."""
    placed = shop.sandbox.place_order(
        {"customer": customer.external_id, "subtotal_minor": 6_000, "code": code}
    )
    assert placed["discount_minor"]
    return str(placed["order"])


async def test_the_same_drafts_pushed_twice_make_one_coupon_each(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        wanted = [draft(customer) for customer in await shop.customers(5)]
        first = await shop.store.push(wanted)
        again = await shop.store.push(wanted)
        assert [code.code for code in first] == [each.code for each in wanted]
        assert all(code.refused is None for code in first)
        assert list(first) == list(again)
        assert shop.sandbox.codes_in_store() == 5


async def test_a_full_push_makes_every_code(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        customers = await shop.customers(20)
        size = case.connector.push_size
        wanted = [draft(customers[n % len(customers)], n) for n in range(size)]
        pushed = await shop.store.push(wanted)
        assert [code.code for code in pushed] == [each.code for each in wanted]
        assert [code.refused for code in pushed] == [None] * size
        assert shop.sandbox.codes_in_store() == size


async def test_pushing_nothing_is_fine(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        assert list(await shop.store.push([])) == []
        assert list(await shop.store.find([])) == []


async def test_codes_are_found_as_the_shop_holds_them(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        wanted = [draft(customer) for customer in await shop.customers(3)]
        pushed = [known(code) for code in await shop.store.push(wanted)]
        absent = replace(pushed[0], code="NEVER-MADE", external_id=None, coupon_external_id=None)
        found = await shop.store.find([pushed[2], absent, pushed[0]])
        assert found[1] is None
        for coupon, asked in ((found[0], wanted[2]), (found[2], wanted[0])):
            assert coupon is not None
            assert (coupon.code or "").lower() == asked.code.lower()
            assert coupon.is_active
            assert coupon.benefit.kind is BenefitKind.PERCENTAGE
            assert coupon.benefit.basis_points == 1500
            assert coupon.ends_at is not None
            assert abs(coupon.ends_at - asked.ends_at) <= timedelta(seconds=1)


async def test_a_code_works_once_and_only_for_its_customer(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        await shop.subscribe()
        owner, other = await shop.customers(2)
        pushed = (await shop.store.push([draft(owner)]))[0]
        with pytest.raises(CheckoutRefused, match="wrong_customer"):
            buy(shop, other, pushed.code)
        order = buy(shop, owner, pushed.code)
        with pytest.raises(CheckoutRefused, match="used_up"):
            buy(shop, owner, pushed.code)
        assert shop.sandbox.redemptions == 1
        await shop.sandbox.hooks.quiet()
        assert _carries(shop.orders_heard()[order].codes, pushed)
        assert _carries((await shop.orders())[order].codes, pushed)


def _carries(codes: tuple[str, ...], pushed: PushedCode) -> bool:
    return bool({pushed.code.lower(), pushed.external_id, pushed.coupon_external_id} & set(codes))


async def test_an_open_code_works_once_for_whoever_holds_it(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        owner, other = await shop.customers(2)
        asked = replace(draft(owner), binding=Binding.OPEN)
        pushed = (await shop.store.push([asked]))[0]
        if Capability.OPEN_CODES not in case.connector.capabilities:
            return
        assert pushed.refused is None
        assert (await shop.store.push([asked]))[0] == pushed
        found = (await shop.store.find([known(pushed)]))[0]
        assert code_difference(asked, found) is None
        assert code_difference(replace(asked, binding=Binding.BOUND), found) is not None
        buy(shop, other, pushed.code)
        for customer in (owner, other):
            with pytest.raises(CheckoutRefused, match="used_up"):
                buy(shop, customer, pushed.code)
        assert shop.sandbox.redemptions == 1


async def test_every_capability_that_a_platform_lacks_is_explained(case: ContractCase) -> None:
    for asked in (Capability.FREE_SHIPPING, Capability.CODES_FOR_GUESTS, Capability.COMBINES):
        if asked not in case.connector.capabilities:
            assert len(case.connector.explains.get(asked, "")) > 20, asked


async def test_a_cancelled_order_gives_the_code_back_where_the_platform_does(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        owner = (await shop.customers(1))[0]
        pushed = (await shop.store.push([draft(owner)]))[0]
        shop.sandbox.cancel_order(buy(shop, owner, pushed.code))
        if Capability.CODE_RETURNS_ON_CANCEL in case.connector.capabilities:
            buy(shop, owner, pushed.code)
        else:
            with pytest.raises(CheckoutRefused, match="used_up"):
                buy(shop, owner, pushed.code)


async def test_a_revoked_code_is_dead_until_it_is_restored(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        owner = (await shop.customers(1))[0]
        asked = draft(owner)
        code = known((await shop.store.push([asked]))[0])
        await shop.store.revoke(code)
        await shop.store.revoke(code)
        found = (await shop.store.find([code]))[0]
        assert found is None or not found.is_active
        with pytest.raises(CheckoutRefused):
            buy(shop, owner, asked.code)
        code = known(await shop.store.restore(asked, code))
        found = (await shop.store.find([code]))[0]
        assert found is not None
        assert found.is_active
        buy(shop, owner, asked.code)


async def test_restoring_a_healthy_code_changes_nothing(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        asked = draft((await shop.customers(1))[0])
        code = known((await shop.store.push([asked]))[0])
        assert known(await shop.store.restore(asked, code)) == code
        assert shop.sandbox.codes_in_store() == 1


async def test_an_expired_code_does_not_work(case: ContractCase) -> None:
    async with open_shop(case, SEED) as shop:
        owner = (await shop.customers(1))[0]
        now = datetime.now(UTC).replace(microsecond=0)
        asked = replace(draft(owner), ends_at=now + timedelta(minutes=3))
        assert (await shop.store.push([asked]))[0].refused is None
        shop.sandbox.clock = lambda: now + timedelta(minutes=10)
        with pytest.raises(CheckoutRefused, match="expired"):
            buy(shop, owner, asked.code)


async def test_a_guests_code_is_bound_where_the_platform_can_and_works_once_anyway(
    case: ContractCase,
) -> None:
    async with open_shop(case, SEED) as shop:
        guest = Customer("guest-1", "a.guest@people.example", None, has_account=False, joined_at=None)
        pushed = (await shop.store.push([draft(guest, is_guest=True)]))[0]
        ask = {"subtotal_minor": 6_000, "code": pushed.code}
        if Capability.CODES_FOR_GUESTS in case.connector.capabilities:
            assert pushed.refused is None
            with pytest.raises(CheckoutRefused, match="wrong_customer"):
                shop.sandbox.place_order({**ask, "email": "another.guest@people.example"})
        if pushed.refused:
            return
        shop.sandbox.place_order({**ask, "email": guest.email})
        assert shop.sandbox.redemptions == 1
        with pytest.raises(CheckoutRefused, match="used_up"):
            shop.sandbox.place_order({**ask, "email": guest.email})


async def test_a_draft_for_nobody_makes_no_code_where_codes_can_be_bound_to_an_email(
    case: ContractCase,
) -> None:
    async with open_shop(case, SEED) as shop:
        asked = replace(draft((await shop.customers(1))[0]), email=None, customer_external_id=None)
        pushed = (await shop.store.push([asked]))[0]
        if Capability.CODES_FOR_GUESTS in case.connector.capabilities:
            assert pushed.refused
        assert shop.sandbox.codes_in_store() == (0 if pushed.refused else 1)
