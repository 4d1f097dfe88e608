"""Where events are posted: our own endpoint, one that the merchant adds, and the app's one for all its accounts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from connectors.base import Secret, Store, StoreAccess, StoreOptions
from connectors.besides import LooksAgain
from connectors.stripe import CONNECTOR
from connectors.stripe.endpoints import by_hand
from connectors.stripe.webhooks import TOPICS
from rewards.changes import CouponSaved, LookAgain
from rewards.errors import InvalidInputError, RefusedError
from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from storage import stores
from storage.stores import StoreRow
from sync.subscriptions import WebhookState, look_after
from tests.connectors.stripe.browser import Browser
from tests.connectors.stripe.conftest import Opener
from tests.sync.shops import Clock, rows
from webhooks.draining import drain

ADDRESS = "http://127.0.0.1:1/webhooks/stripe/token"


async def with_key(browser: Browser) -> StoreRow:
    """The account, connected with a key."""
    assert (await browser.pastes(api_key=browser.sandbox.key))[0] == 200
    return await browser.store()


async def with_app(browser: Browser) -> StoreRow:
    """The account, connected with the app."""
    assert (await browser.get(await browser.agrees()))[0] == 200
    return await browser.store()


async def inbox(browser: Browser) -> list[tuple[Any, ...]]:
    return await rows(browser.services.database, "SELECT topic, store_id FROM deliveries ORDER BY id")


def order(browser: Browser) -> None:
    browser.sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 2_000})


# -- our own ---------------------------------------------------------------------------------------------------------


async def test_an_endpoint_whose_secret_was_lost_is_made_anew_at_the_daily_look(browser: Browser) -> None:
    """We were stopped between making it and storing what signs: it looks well, and nothing it posts can be taken."""
    store = await with_key(browser)
    shelf, (known,) = browser.sandbox.account.endpoints, browser.sandbox.account.endpoints.rows
    made = browser.sandbox.account.endpoints.create({"url": known.url, "enabled_events": list(TOPICS)})
    browser.sandbox.account.endpoints.delete(known.id)
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert (len(browser.sandbox.hooks.accepted), await inbox(browser)) == (0, [])
    assert (await look_after(browser.services, store)).state is WebhookState.SET_UP_AGAIN
    assert made.id not in shelf.by_id
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert len(await inbox(browser)) == 2
    assert (await look_after(browser.services, await browser.store())).state is WebhookState.ON


async def test_an_endpoint_of_a_first_connection_that_broke_off_is_replaced_at_the_daily_look(
    browser: Browser,
) -> None:
    store = await with_key(browser)
    await rows(
        browser.services.database,
        "UPDATE stores SET webhook_address = NULL, subscription_ids = '[]', webhook_secrets = NULL RETURNING id",
    )
    assert (await look_after(browser.services, await browser.store())).state is WebhookState.SET_UP
    assert len(browser.sandbox.account.endpoints) == 1
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert {store_id for _, store_id in await inbox(browser)} == {store.id}


async def test_where_there_is_no_room_for_one_more_the_old_endpoint_makes_it(
    sandbox: StripeSandbox, store: Store
) -> None:
    shelf = sandbox.account.endpoints
    for number in range(16):
        shelf.create({"url": f"https://other.example/{number}", "enabled_events": ["*"]})
    with pytest.raises(RefusedError, match="delete those that nobody needs") as caught:
        await store.subscribe(ADDRESS, Secret("proposal"))
    assert ADDRESS in str(caught.value)
    shelf.delete(shelf.rows[0].id)
    first = await store.subscribe(ADDRESS, Secret("proposal"))
    second = await store.subscribe(ADDRESS, Secret("proposal"))
    assert len(shelf) == 16
    (ours,) = (each for each in shelf if each.url == ADDRESS)
    assert (ours.id, ours.secret) == (second.external_ids[0], second.secret.reveal())
    assert ours.id != first.external_ids[0]


async def test_posts_are_taken_while_a_secret_is_rolled(browser: Browser) -> None:
    """Stripe signs with both for a day; whichever of them we hold will do."""
    await with_key(browser)
    (endpoint,) = browser.sandbox.account.endpoints
    endpoint.old_secrets, endpoint.secret = [endpoint.secret], "whsec_new_one"
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert len(await inbox(browser)) == 2
    endpoint.old_secrets = []
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert len(await inbox(browser)) == 2


async def test_a_live_account_is_told_that_it_needs_a_public_https_address() -> None:
    world = World(Seed(customers=5, orders=5, number=4), base_is_total=True)
    async with StripeSandbox(world, mode="live") as sandbox, aiohttp.ClientSession() as session:
        found = await CONNECTOR.install.installation(sandbox.connect_answers(), session)
        assert found.external_id.endswith(":live")
        access = StoreAccess(
            found.external_id, found.credentials, StoreOptions("EUR", "UTC", found.settings), found.api_base
        )
        store = CONNECTOR.open_store(access, session)
        with pytest.raises(RefusedError, match="public https address"):
            await store.subscribe(ADDRESS, Secret("proposal"))
        assert (await store.subscribe(ADDRESS.replace("http:", "https:"), Secret("proposal"))).external_ids


# -- added by hand ---------------------------------------------------------------------------------------------------


async def test_without_the_permission_the_merchant_is_shown_the_address_and_the_events(
    sandbox: StripeSandbox, store: Store
) -> None:
    sandbox.access.keys[sandbox.key].lacks.add("webhook_write")
    with pytest.raises(RefusedError) as caught:
        await store.subscribe(ADDRESS, Secret("whsec_of_somebody"))
    assert str(caught.value) == by_hand(ADDRESS)
    for words in (ADDRESS, "2026-10-28.endive", *TOPICS, "--webhook-secret"):
        assert words in str(caught.value)


async def test_an_endpoint_that_was_added_by_hand_is_as_good(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, open_store: Opener
) -> None:
    sandbox.access.keys[sandbox.key].lacks |= {"webhook_read", "webhook_write"}
    answers = {**sandbox.connect_answers(), "webhook-secret": "whsec_by_hand"}
    found = await CONNECTOR.install.installation(answers, session)
    assert [secret.reveal() for secret in found.webhook_secrets] == ["whsec_by_hand"]
    store = open_store(**found.settings)
    made = await store.subscribe(ADDRESS, found.webhook_secrets[0])
    assert (made.secret.reveal(), list(made.external_ids)) == ("whsec_by_hand", [])
    assert await store.is_subscribed(ADDRESS)
    with pytest.raises(RefusedError):
        await open_store().is_subscribed(ADDRESS)


async def test_what_is_no_signing_secret_is_refused(
    sandbox: StripeSandbox, session: aiohttp.ClientSession
) -> None:
    answers = {**sandbox.connect_answers(), "webhook-secret": "rk_test_wrong_field"}
    with pytest.raises(InvalidInputError, match="whsec_") as caught:
        await CONNECTOR.install.installation(answers, session)
    assert "wrong_field" not in str(caught.value)


async def test_a_destination_beside_our_own_endpoint_brings_a_secret_of_its_own(browser: Browser) -> None:
    """Added by hand: we make ours all the same, and take posts of all."""
    given = "whsec_destination, whsec_another"
    assert (await browser.pastes(api_key=browser.sandbox.key, webhook_secret=given))[0] == 200
    (endpoint,) = browser.sandbox.account.endpoints
    held = stores.webhook_secrets(browser.services.secret_box, await browser.store())
    (destination,) = browser.sandbox.destinations.rows
    assert held == [endpoint.secret, destination.secret, "whsec_destination", "whsec_another"]


# -- the app's -------------------------------------------------------------------------------------------------------


async def test_the_apps_one_endpoint_finds_the_store_by_its_account(browser: Browser) -> None:
    store = await with_app(browser)
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert await inbox(browser) == [("charge.succeeded", store.id), ("checkout.session.completed", store.id)]
    assert await drain(browser.services, store.id) == 2
    assert len(await rows(browser.services.database, "SELECT id FROM orders")) == 1


async def test_an_event_of_an_account_that_we_do_not_know_is_not_sent_again_and_not_kept(
    browser: Browser,
) -> None:
    """Whoever installs the app in the marketplace and never comes to us has events, and Stripe gives up an endpoint
    that refuses too many."""
    await with_app(browser)
    event = browser.sandbox.account.make_event("customer.created", {"id": "cus_1", "object": "customer"})
    browser.sandbox.stray(event, account="acct_somebody_elses")
    await browser.sandbox.hooks.quiet()
    assert (len(browser.sandbox.hooks.accepted), await inbox(browser)) == (1, [])


async def test_an_event_of_the_other_mode_reaches_no_store_of_this_one(browser: Browser) -> None:
    await with_app(browser)
    event = browser.sandbox.account.make_event("customer.created", {"id": "cus_1", "object": "customer"})
    browser.sandbox.stray(event, is_live=True)
    await browser.sandbox.hooks.quiet()
    assert (len(browser.sandbox.hooks.accepted), await inbox(browser)) == (1, [])


async def test_an_app_endpoints_post_that_nobody_signed_is_refused(browser: Browser) -> None:
    await with_app(browser)
    browser.sandbox.connect_endpoints[0].secret = "whsec_wrong"
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert (len(browser.sandbox.hooks.accepted), await inbox(browser)) == (0, [])


async def test_a_new_secret_of_the_apps_endpoint_counts_without_connecting_again(browser: Browser) -> None:
    """The operator's setting is what counts, not what stood there when the store was installed."""
    await with_app(browser)
    await rows(browser.services.database, "UPDATE stores SET webhook_secrets = NULL RETURNING id")
    order(browser)
    await browser.sandbox.hooks.quiet()
    assert len(await inbox(browser)) == 2


async def test_taking_the_app_out_ends_the_store(browser: Browser) -> None:
    store = await with_app(browser)
    assert isinstance(browser.services.clock, Clock)
    browser.services.clock.pass_days(1)
    browser.sandbox.uninstall_app()
    await browser.sandbox.hooks.quiet()
    assert await drain(browser.services, store.id) == 1
    store = await browser.store()
    assert (store.status, browser.credentials(store)) == ("uninstalled", {})
    assert (await browser.get(await browser.agrees()))[0] == 200
    assert (await browser.store()).status == "active"


async def test_an_app_without_the_secret_of_its_endpoint_says_what_is_missing(browser: Browser) -> None:
    store = await with_app(browser)
    opened = replace(browser.services, apps={}).open_store(store)
    with pytest.raises(RefusedError, match="WEBHOOK_SECRET"):
        await opened.subscribe(ADDRESS, Secret("proposal"))


async def test_a_code_that_a_thin_event_names_is_looked_at_again(
    sandbox: StripeSandbox, store: Store
) -> None:
    account = sandbox.account
    account.create_coupon({"id": "ten", "percent_off": "10"})
    code = account.create_code(
        {"promotion": {"type": "coupon", "coupon": "ten"}, "code": "ONCE", "max_redemptions": "1"}
    )
    sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 2_000, "code": "ONCE"})
    assert isinstance(store, LooksAgain)
    (change,) = await store.look(LookAgain("promotion_code", code.id))
    assert isinstance(change, CouponSaved)
    assert (change.coupon.code, change.coupon.is_active) == ("ONCE", False)
    assert await store.look(LookAgain("promotion_code", "promo_gone")) == []
