"""The store's coupons are known here as they change there; our own are checked and put right."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.server import Sandbox
from sync.verify import verify_codes
from tests.flows import tills
from tests.flows.stage import Shop, Stage


async def coupon(shop: Shop, external_id: str) -> dict[str, Any]:
    """A coupon of the store as we know it."""
    (found,) = await shop.stage.rows(
        """SELECT code, kind, basis_points, is_active, deleted_at IS NOT NULL AS is_deleted FROM coupons
           WHERE store_id = %s AND external_id = %s""",
        shop.store.id,
        external_id,
    )
    return found


@pytest.mark.feature("P-27")
async def test_coupons_of_the_store_are_synced_by_history_and_by_webhook(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=5, orders=5)
    known = await stage.rows("SELECT code FROM coupons WHERE store_id = %s", shop.store.id)
    assert len(known) >= 3
    stage.clock.passes(seconds=5)
    external_id = tills.make_coupon(shop.sandbox, "Summer20")
    await stage.settle()
    await shop.reconciles()  # not every platform's webhook says what a coupon gives
    assert await coupon(shop, external_id) == {
        "code": (await coupon(shop, external_id))["code"],
        "kind": "percentage",
        "basis_points": 2_000,
        "is_active": True,
        "is_deleted": False,
    }
    assert (await coupon(shop, external_id))["code"].lower() == "summer20"
    stage.clock.passes(seconds=5)
    tills.switch_off(shop.sandbox, "Summer20")
    await stage.settle()
    if kind.platform == "shopify":
        await shop.reconciles()
    assert not (await coupon(shop, external_id))["is_active"]
    assert (await coupon(shop, external_id))["basis_points"] == 2_000
    stage.clock.passes(seconds=5)
    tills.delete(shop.sandbox, "Summer20")
    await stage.settle()
    assert not (await coupon(shop, external_id))["is_active"]


async def test_codes_that_the_merchant_spoiled_are_found_and_put_right(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=130, orders=10, birthday_share=1.0)
    await shop.rewards("birthday")
    await stage.tick()
    gone, off, *others = await shop.codes()
    assert len(others) >= 2
    stage.clock.passes(seconds=5)
    tills.switch_off(shop.sandbox, off["code"])
    if kind.platform != "stripe":  # there a coupon takes all of its codes along
        tills.delete(shop.sandbox, gone["code"])
    await stage.settle()
    await shop.reconciles()
    spoiled = await stage.rows(
        "SELECT code, difference FROM promotion_codes WHERE difference IS NOT NULL ORDER BY id"
    )
    expected = [off["code"]] if kind.platform == "stripe" else [gone["code"], off["code"]]
    assert [found["code"] for found in spoiled] == expected
    (event,) = await stage.rows("SELECT detail FROM audit_events WHERE action = 'store.reconciled'")
    assert event["detail"]["codes_that_differ"] == len(expected)
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    assert report.repaired == len(expected)
    assert (await verify_codes(stage.services, shop.store.id)).differences == []
    for code in (gone, off, others[0]):
        await shop.buys(code["email"], 5_000, code["code"])
        assert await shop.refused(code["email"], code["code"]) == "used_up"
    await stage.settle()
    assert [code["state"] for code in await shop.codes()].count("redeemed") == 3


async def test_codes_whose_coupon_the_merchant_deleted_are_put_right(
    stage: Stage, kind: type[Sandbox]
) -> None:
    shop = await stage.open(kind, customers=130, orders=10, birthday_share=1.0)
    await shop.rewards("birthday")
    await stage.tick()
    codes = await shop.codes()
    await shop.loses_webhooks()
    for code in codes if kind.platform != "stripe" else codes[:1]:
        tills.delete(shop.sandbox, code["code"])
    assert await shop.refused(codes[0]["email"], codes[0]["code"]) == "unknown_code"
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    assert (report.checked, report.repaired) == (len(codes), len(codes))
    await shop.loses_webhooks(how_many=0)
    for code in codes:
        await shop.buys(code["email"], 5_000, code["code"])
    await stage.settle()
    assert {code["state"] for code in await shop.codes()} == {"redeemed"}
