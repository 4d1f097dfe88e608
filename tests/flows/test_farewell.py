"""The merchant takes the app out, and people ask for their data or for its end."""

from __future__ import annotations

import pytest

from sandbox.shopify import ShopifySandbox
from tests.flows.stage import Stage
from tests.flows.tills import RULE


async def test_an_uninstalled_store_is_left_alone_and_its_key_forgotten(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, customers=130, birthday_share=1.0)
    assert isinstance(shop.sandbox, ShopifySandbox)
    await shop.earns()
    await shop.rewards("birthday")
    stage.clock.passes(minutes=1)
    shop.sandbox.uninstall()
    await stage.settle()
    (row,) = await stage.rows("SELECT status, status_reason, credentials, earning_from FROM stores")
    assert (row["status"], row["credentials"], row["earning_from"]) == ("uninstalled", None, None)
    assert row["status_reason"]
    asked = shop.sandbox.requests
    await stage.days_pass(2)
    assert shop.sandbox.requests == asked
    assert await shop.codes() == []
    await shop.buys("ada@people.example", 5_000)
    await stage.settle()
    assert (await shop.books()).net == {}
    assert (await shop.books()).orders > 0, "what was known stays until its erasure is asked for"


async def test_a_store_that_comes_back_goes_on_where_it_was(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox)
    assert isinstance(shop.sandbox, ShopifySandbox)
    run = await shop.rewards_the_past()
    stage.clock.passes(minutes=1)
    shop.sandbox.uninstall()
    await stage.settle()
    stage.clock.passes(days=3)
    shop.sandbox.install_again()
    again = await stage.install(shop.sandbox)
    assert again.store.id == shop.store.id
    assert (await shop.row()).status == "active"
    await shop.ask("replay")
    await stage.settle()
    assert (await shop.row()).status == "active", "late news of the old uninstall ends nothing"
    assert sum((await shop.books()).balances.values()) == run.preview["points"]
    assert (await shop.rewards_the_past()).preview["points"] == 0


async def test_requests_about_personal_data_are_noted_and_done(stage: Stage) -> None:
    shop = await stage.open(ShopifySandbox, birthday_share=1.0)
    sandbox = shop.sandbox
    assert isinstance(sandbox, ShopifySandbox)
    await shop.rewards_the_past()
    before = await shop.books()
    points = sum(before.balances.values())
    customer, person = next(iter(sandbox.customers.items()))
    sandbox.hook_desk.app_uri = f"{stage.services.public_url}/webhooks/shopify"
    sandbox.ask_privacy("customers/data_request", customer)
    await stage.settle()
    assert await events(stage) == ["privacy.export"]
    assert {"members", "store_customers"} <= await traces(stage, person.email)
    sandbox.ask_privacy("customers/redact", customer)
    await stage.settle()
    assert await events(stage) == ["privacy.export", "privacy.erase"]
    # The posts themselves, as they came, go after thirty days.
    assert await traces(stage, person.email) <= {"deliveries"}
    assert sum((await shop.books()).balances.values()) == points == sandbox.world.expected_points(RULE)


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_shop_that_is_gone_for_good_is_erased_and_one_that_is_back_is_not(
    stage: Stage, comes_back: bool
) -> None:
    shop = await stage.open(ShopifySandbox, birthday_share=1.0)
    sandbox = shop.sandbox
    assert isinstance(sandbox, ShopifySandbox)
    await shop.rewards_the_past()
    sums = "SELECT sum(balance) AS points, (SELECT sum(points) FROM ledger_entries) AS entries FROM members"
    before = await stage.rows(sums)
    emails = [person.email for person in sandbox.customers.values()]
    sandbox.hook_desk.app_uri = f"{stage.services.public_url}/webhooks/shopify"
    stage.clock.passes(minutes=1)
    sandbox.uninstall()
    await stage.settle()
    stage.clock.passes(days=1)
    if comes_back:
        sandbox.install_again()
        await stage.install(sandbox)
    stage.clock.passes(days=1)
    sandbox.hook_desk.emit("shop/redact", lambda _: {"shop_id": 61_000_000_001, "shop_domain": sandbox.shop})
    await stage.settle()
    await stage.until("SELECT bool_and(done_at IS NOT NULL) AS is_so FROM privacy_requests")
    await stage.settle()
    kept = [email for email in emails if "store_customers" in await traces(stage, email)]
    assert (await shop.row()).status == ("active" if comes_back else "uninstalled")
    assert kept == (emails if comes_back else [])
    assert await events(stage) == [
        "privacy.erase_store",
        "privacy.store_kept" if comes_back else "privacy.store_erased",
    ]
    assert await stage.rows(sums) == before
    assert before[0]["points"] == before[0]["entries"] > 0


async def events(stage: Stage) -> list[str]:
    """What was noted of requests, oldest first."""
    found = await stage.rows("SELECT action FROM audit_events WHERE action LIKE 'privacy.%%' ORDER BY id")
    return [row["action"] for row in found]


async def traces(stage: Stage, email: str) -> set[str]:
    """The tables in which the e-mail stands anywhere, in whatever letter case."""
    tables = await stage.rows("SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()")
    found = set()
    for table in tables:
        query = f"SELECT EXISTS (SELECT FROM {table['name']} t WHERE t::text ILIKE %s) AS is_so"
        # Posts are kept as bytes, which a row's text shows in hexadecimal.
        for shape in (email, email.encode().hex()):
            if (await stage.rows(query, f"%{shape}%"))[0]["is_so"]:
                found.add(table["name"])
    return found
