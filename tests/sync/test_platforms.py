"""From whose day it is to the code used at checkout, on every platform, against its stand-in over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.base import Capability
from rewards.changes import CustomersMerged
from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.world import EarningRule, Seed, World
from storage.database import Database
from storage.secrets import SecretBox
from storage.stores import StoreRow
from sync import occasions
from sync.history import run_import
from sync.push import PushReport, push_store
from sync.services import Services
from sync.verify import verify_codes
from tests.connectors.shopify.case import CASE as SHOPIFY
from tests.connectors.stripe.case import CASE as STRIPE
from tests.connectors.woocommerce.case import CASE as WOOCOMMERCE
from tests.contract.case import ContractCase
from tests.sync.shops import Clock, install, reward_for, rows, services_for, told

CASES = (SHOPIFY, STRIPE, WOOCOMMERCE)


@dataclass
class Installed:
    """One platform's stand-in, installed and read."""

    services: Services
    sandbox: Sandbox
    store: StoreRow


@pytest.fixture(params=CASES, ids=lambda case: case.connector.platform)
async def installed(
    request: pytest.FixtureRequest, services: Services, database: Database, secret_box: SecretBox
) -> AsyncIterator[Installed]:
    """Each platform in turn, now: SDKs look at the real clock."""
    case: ContractCase = request.param
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    seed = Seed(customers=240, orders=200, birthday_share=1.0, now=clock.now)
    world = World(seed, base_is_total=getattr(case.sandbox, "base_is_total", False))
    connector = [case.connector]
    ours = services_for(database, services.session, secret_box, clock, connector)
    async with case.sandbox(world) as sandbox:
        sandbox.limiter_on = False  # how we keep to the platform's pace is told elsewhere
        store = await install(ours, sandbox, patience_seconds=30)
        await run_import(ours, store.id)
        yield Installed(ours, sandbox, store)


async def given_and_pushed(shop: Installed) -> int:
    """Birthday and joining rewards as codes in the store; how many."""
    await reward_for(shop.services, shop.store, "birthday", lead_days=2)
    await reward_for(shop.services, shop.store, "joining", code_prefix="YEARS")
    given = (await occasions.run(shop.services)).grants
    assert await push_store(shop.services, shop.store.id) == PushReport(pushed=given)
    return given


async def codes(shop: Installed) -> list[tuple[Any, ...]]:
    """(code, external id of its customer, state), by grant."""
    return await rows(
        shop.services.database,
        """SELECT c.code, sc.external_id, g.state FROM grants g
           JOIN promotion_codes c ON c.grant_id = g.id
           JOIN store_customers sc ON sc.id = g.store_customer_id ORDER BY g.id""",
    )


async def control(shop: Installed, name: str, **body: object) -> dict[str, Any]:
    """A control route of the stand-in."""
    url = f"{shop.sandbox.url}/_sandbox/{name}"
    async with shop.services.session.post(url, json=body) as answer:
        found: dict[str, Any] = await answer.json()
        return found


@pytest.mark.feature("S-26")
async def test_all_whose_day_it_is_have_their_code_in_the_store(installed: Installed) -> None:
    given = await given_and_pushed(installed)
    books = installed.sandbox.books(EarningRule(), birthday_lead=2, joining_lead=0)
    assert (given, installed.sandbox.codes_in_store()) == (books["grants_expected"], given)
    assert given >= 8
    report = await verify_codes(installed.services, installed.store.id)
    assert (report.checked, report.differences) == (given, [])


async def test_a_code_works_once_for_its_own_customer_and_redeems_the_grant(installed: Installed) -> None:
    await given_and_pushed(installed)
    (code, customer, _), (_, other, _), *_ = await codes(installed)
    wrong = await control(installed, "checkout", customer=other, subtotal_minor=5_000, code=code)
    placed = await control(installed, "checkout", customer=customer, subtotal_minor=5_000, code=code)
    again = await control(installed, "checkout", customer=customer, subtotal_minor=5_000, code=code)
    assert (wrong, again) == ({"error": "wrong_customer"}, {"error": "used_up"})
    assert placed["discount_minor"] == 500
    await run_import(installed.services, installed.store.id)
    redeemed = [row[:2] for row in await codes(installed) if row[2] == "redeemed"]
    assert redeemed == [(code, customer)]
    await control(installed, "cancel", order=placed["order"])
    await run_import(installed.services, installed.store.id)
    state = {row[0]: row[2] for row in await codes(installed)}[code]
    gives_back = (
        Capability.CODE_RETURNS_ON_CANCEL in installed.services.connector(installed.store).capabilities
    )
    assert state == ("pushed" if gives_back else "redeemed")


async def test_pushing_again_with_the_same_draft_makes_no_second_code(installed: Installed) -> None:
    given = await given_and_pushed(installed)
    before = await rows(
        installed.services.database, "SELECT code, external_id FROM promotion_codes ORDER BY id"
    )
    # As after a crash in which the store's answers were lost.
    await rows(
        installed.services.database,
        "UPDATE promotion_codes SET external_id = NULL, coupon_external_id = NULL, pushed_at = NULL RETURNING id",
    )
    await rows(
        installed.services.database, "UPDATE grants SET state = 'decided', pushed_at = NULL RETURNING id"
    )
    assert await push_store(installed.services, installed.store.id) == PushReport(pushed=given)
    after = await rows(
        installed.services.database, "SELECT code, external_id FROM promotion_codes ORDER BY id"
    )
    assert after == before
    assert installed.sandbox.codes_in_store() == given


async def test_a_code_for_a_record_that_was_merged_away_is_made_for_the_one_that_is_left(
    services: Services, database: Database, secret_box: SecretBox
) -> None:
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    ours = services_for(database, services.session, secret_box, clock, [SHOPIFY.connector])
    async with ShopifySandbox(
        World(Seed(customers=90, orders=30, birthday_share=0.5, now=clock.now))
    ) as sandbox:
        store = await install(ours, sandbox, patience_seconds=30)
        await run_import(ours, store.id)
        await reward_for(ours, store, "birthday", lead_days=20)
        given = (await occasions.run(ours)).grants
        shop = Installed(ours, sandbox, store)
        owners = [customer for _, customer, _ in await codes(shop)]
        gone, kept = owners[0], next(number for number in sandbox.customers if number not in owners)
        sandbox.admin.merge_customers(kept, gone)
        await told(ours, store, CustomersMerged(kept_external_id=kept, gone_external_id=gone))
        assert await push_store(ours, store.id) == PushReport(pushed=given)
        report = await verify_codes(ours, store.id)
        assert (report.checked, report.differences) == (given, [])
        (code, _, _), *_ = await codes(shop)
        placed = await control(shop, "checkout", customer=kept, subtotal_minor=5_000, code=code)
        assert placed["discount_minor"] == 500
