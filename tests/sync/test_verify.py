"""Codes that were edited, switched off or deleted in the store are found, named and put right."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from rewards.errors import AccessRevokedError
from rewards.records import Benefit, BenefitKind
from sandbox.woocommerce_coupons import Coupon
from sync import occasions
from sync.push import push_store
from sync.reconcile import reconcile
from sync.verify import verify_codes
from tests.sync.shops import Shop, reward_for, rows


async def pushed(shop: Shop, **terms: Any) -> list[Coupon]:
    """Birthday codes that are in the shop; the shop's own view of them, by grant."""
    await reward_for(shop.services, shop.store, **terms)
    await occasions.run(shop.services)
    await push_store(shop.services, shop.store.id)
    return [shop.sandbox.coupons.by_code[code.lower()] for code, _ in await shop.grants()]


async def stored(shop: Shop) -> list[tuple[Any, ...]]:
    """(difference, verified_at) of each code, by grant."""
    return await rows(shop.database, "SELECT difference, verified_at FROM promotion_codes ORDER BY grant_id")


@pytest.mark.parametrize(
    "benefit",
    [
        Benefit(BenefitKind.PERCENTAGE, basis_points=1_250),
        Benefit(BenefitKind.AMOUNT, amount_minor=750, currency="EUR", minimum_minor=2_000),
        Benefit(BenefitKind.FREE_SHIPPING),
    ],
)
async def test_codes_as_we_pushed_them_have_no_difference(shop: Shop, benefit: Benefit) -> None:
    held = await pushed(shop, benefit=benefit)
    report = await verify_codes(shop.services, shop.store.id)
    assert (report.checked, report.differences) == (len(held), [])
    assert await stored(shop) == [(None, shop.clock.now)] * len(held)


async def test_differences_are_found_named_and_stored(shop: Shop) -> None:
    held = await pushed(shop)
    _spoil(shop, held)
    shop.clock.now += timedelta(hours=1)
    report = await verify_codes(shop.services, shop.store.id)
    assert [found.difference for found in report.differences] == [
        "it is gone from the store",
        "it gives something else",
        "it is switched off",
        "anybody can use it",
        "it ends too late; it can be used more than once",
    ]
    assert [row[0] for row in await stored(shop)][:6] == [
        *(found.difference for found in report.differences),
        None,
    ]
    assert {row[1] for row in await stored(shop)} == {shop.clock.now}
    assert report.repaired == 0


async def test_repair_puts_every_code_right_and_keeps_its_text(shop: Shop) -> None:
    held = await pushed(shop)
    codes = await shop.grants()
    _spoil(shop, held)
    report = await verify_codes(shop.services, shop.store.id, repair=True)
    assert [(found.repaired, found.refused) for found in report.differences] == [(True, None)] * 5
    assert (await verify_codes(shop.services, shop.store.id)).differences == []
    assert await shop.grants() == codes
    assert shop.sandbox.codes_in_store() == len(codes)
    assert {row[0] for row in await stored(shop)} == {None}
    ids = await rows(shop.database, "SELECT external_id FROM promotion_codes ORDER BY grant_id")
    assert [row[0] for row in ids] == [
        str(shop.sandbox.coupons.by_code[code.lower()].id) for code, _ in codes
    ]


def _spoil(shop: Shop, held: list[Coupon]) -> None:
    """What merchants do to coupons, to the first five."""
    shop.sandbox.coupons.delete(held[0].id, force=True)
    held[1].fields["amount"] = "5.00"
    held[2].fields["status"] = "draft"
    held[3].fields["email_restrictions"] = []
    held[4].fields["usage_limit"] = 10
    assert held[4].expires is not None
    held[4].expires += timedelta(days=300)


async def test_a_used_code_whose_order_has_not_come_is_said_and_left(shop: Shop) -> None:
    await pushed(shop)
    (code, email), *_ = await _codes_and_emails(shop)
    await shop.ask("checkout", email=email, subtotal_minor=5_000, code=code)
    report = await verify_codes(shop.services, shop.store.id, repair=True)
    (found,) = report.differences
    assert (found.code, found.repaired) == (code, False)
    assert "no order with it has come" in found.difference


async def test_reconciling_heals_a_lost_webhook_and_checks_the_codes(shop: Shop) -> None:
    held = await pushed(shop)
    (code, email), *_ = await _codes_and_emails(shop)
    shop.clock.now += timedelta(hours=20)  # 10:00 in Madrid, the next day
    await shop.ask("checkout", email=email, subtotal_minor=5_000, code=code)
    held[1].fields["status"] = "draft"
    report = await reconcile(shop.services, shop.store.id)
    assert dict(await shop.grants())[code] == "redeemed"
    assert report.codes.checked == len(held) - 1  # the redeemed one is done with
    assert [found.difference for found in report.codes.differences] == ["it is switched off"]
    assert await rows(shop.database, "SELECT last_reconciled_on FROM stores") == [(date(2026, 6, 16),)]
    ((detail,),) = await rows(
        shop.database, "SELECT detail FROM audit_events WHERE action = 'store.reconciled'"
    )
    assert (detail["codes_checked"], detail["codes_that_differ"]) == (len(held) - 1, 1)
    assert detail["read"]["orders"] >= 1


async def test_a_store_that_refuses_us_is_paused_and_its_day_is_not_done(shop: Shop) -> None:
    await pushed(shop)
    shop.sandbox.faults.refuse_credentials = True
    with pytest.raises(AccessRevokedError):
        await reconcile(shop.services, shop.store.id)
    assert await rows(shop.database, "SELECT status, last_reconciled_on FROM stores") == [("paused", None)]


async def _codes_and_emails(shop: Shop) -> list[tuple[Any, ...]]:
    return await rows(
        shop.database,
        """SELECT c.code, sc.email FROM grants g JOIN promotion_codes c ON c.grant_id = g.id
           JOIN store_customers sc ON sc.id = g.store_customer_id ORDER BY g.id""",
    )
