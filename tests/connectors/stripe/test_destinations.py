"""The event destination for thin events: made beside the endpoint where it can be, and missed nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import stripe
from stripe.v2.core import EventDestination

from connectors.base import Secret, Store
from connectors.stripe.webhooks import THIN_TOPICS
from sandbox.stripe import StripeSandbox
from sandbox.stripe_shelf import StripeRefusal
from storage import stores
from sync.subscriptions import WebhookState, look_after
from tests.connectors.stripe.browser import Browser
from tests.connectors.stripe.conftest import Opener
from tests.connectors.stripe.test_endpoints import ADDRESS, inbox, with_key
from tests.sandbox.v2_shapes import misfits
from tests.sync.shops import Clock, rows
from webhooks.draining import drain

(FULLY_REDEEMED,) = THIN_TOPICS


def use_up(sandbox: StripeSandbox, code: str = "ONCE") -> None:
    """Somebody uses a code that works once."""
    account = sandbox.account
    account.create_coupon({"id": f"c-{code}", "percent_off": "10"})
    promotion = {"type": "coupon", "coupon": f"c-{code}"}
    account.create_code({"promotion": promotion, "code": code, "max_redemptions": "1"})
    sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 2_000, "code": code})


async def test_a_key_that_may_gets_a_destination_whose_thin_events_are_taken_and_read(
    browser: Browser,
) -> None:
    store = await with_key(browser)
    (made,) = browser.sandbox.destinations.rows
    (endpoint,) = browser.sandbox.account.endpoints
    assert (made.url, made.enabled_events, made.events_from) == (endpoint.url, [FULLY_REDEEMED], ["@self"])
    assert list(store.subscription_ids) == [endpoint.id, made.id]
    held = stores.webhook_secrets(browser.services.secret_box, store)
    assert held == [endpoint.secret, made.secret]
    endpoint.status = "disabled"  # so that nothing else tells of the code
    use_up(browser.sandbox)
    await browser.sandbox.hooks.quiet()
    assert await inbox(browser) == [(FULLY_REDEEMED, store.id)]
    assert await drain(browser.services, store.id) == 1
    found = await rows(browser.services.database, "SELECT code, is_active, used_count FROM coupons")
    assert found == [("ONCE", False, 1)]


async def test_the_stand_ins_thin_event_is_what_the_sdk_reads(browser: Browser) -> None:
    await with_key(browser)
    use_up(browser.sandbox)
    await browser.sandbox.hooks.quiet()
    (post,) = [each for each in browser.sandbox.hooks.sent if FULLY_REDEEMED.encode() in each.body]
    (made,) = browser.sandbox.destinations.rows
    client = stripe.StripeClient("rk_test_1")
    signature = browser.sandbox._signed(post).headers["Stripe-Signature"]
    event = client.parse_event_notification(post.body, signature, made.secret, tolerance=None)
    assert (event.type, event.livemode) == (FULLY_REDEEMED, False)
    assert event.related_object.type == "promotion_code"  # type: ignore[union-attr]
    with pytest.raises(stripe.SignatureVerificationError):  # each signs with its own secret only
        client.parse_event_notification(
            post.body, signature, browser.sandbox.account.endpoints.rows[0].secret, tolerance=None
        )


REFUSALS = {
    "a server that knows no v2": StripeRefusal("Unrecognized request URL (POST: /v2/core/…).", status=404),
    "words that we do not know": StripeRefusal("This key is not for that.", status=403, code="forbidden"),
    "a key that v2 does not take": StripeRefusal("Use another key.", status=401),
    "an address that v2 does not take": StripeRefusal("No.", code="url_invalid"),
    "a trouble of its own": StripeRefusal("Try again.", status=500),
    "the permission": None,
}


@pytest.mark.parametrize("how", REFUSALS)
async def test_where_it_cannot_be_made_the_endpoint_does_without(
    sandbox: StripeSandbox, store: Store, how: str
) -> None:
    sandbox.destinations.refusal = REFUSALS[how]
    if REFUSALS[how] is None:
        sandbox.access.keys[sandbox.key].lacks |= {"event_destination_read", "event_destination_write"}
    made = await store.subscribe(ADDRESS, Secret("proposal"))
    assert [len(made.external_ids), list(made.also_signing), sandbox.destinations.rows] == [1, [], []]
    assert await store.is_subscribed(ADDRESS)
    assert (
        "promotion_code.updated" in sandbox.account.endpoints.rows[0].enabled_events
    )  # which tells the same
    await store.unsubscribe(ADDRESS)
    assert len(sandbox.account.endpoints) == 0


async def test_subscribing_again_replaces_it_and_unsubscribing_ends_it(
    sandbox: StripeSandbox, store: Store
) -> None:
    first = await store.subscribe(ADDRESS, Secret("proposal"))
    elsewhere = await store.subscribe(ADDRESS + "-another", Secret("proposal"))
    second = await store.subscribe(ADDRESS, Secret("proposal"))
    held = {row.id for row in sandbox.destinations.rows}
    assert held == {elsewhere.external_ids[1], second.external_ids[1]}
    assert first.external_ids[1] not in held
    await store.unsubscribe(ADDRESS)
    assert {row.id for row in sandbox.destinations.rows} == {elsewhere.external_ids[1]}


async def test_one_among_many_destinations_of_others_is_found(sandbox: StripeSandbox, store: Store) -> None:
    await store.subscribe(ADDRESS, Secret("proposal"))
    (ours,) = sandbox.destinations.rows
    sandbox.destinations.rows[:0] = [
        replace(ours, id=f"ed_other{number}", url="https://other.example/") for number in range(45)
    ]
    assert await store.is_subscribed(ADDRESS)
    await store.unsubscribe(ADDRESS)
    assert len(sandbox.destinations.rows) == 45


@pytest.mark.parametrize("how", ["deleted", "disabled"])
async def test_a_destination_that_was_lost_is_made_anew_at_the_daily_look(browser: Browser, how: str) -> None:
    store = await with_key(browser)
    assert isinstance(browser.services.clock, Clock)
    (made,) = browser.sandbox.destinations.rows
    if how == "deleted":
        browser.sandbox.destinations.rows.clear()
    else:
        made.status = "disabled"
    assert (await look_after(browser.services, store)).state is WebhookState.SET_UP_AGAIN
    (again,) = browser.sandbox.destinations.rows
    assert (again.id != made.id, again.status) == (True, "enabled")
    assert (await look_after(browser.services, await browser.store())).state is WebhookState.ON
    # What signs now comes first; the secrets of posts that are late are kept for a while.
    held = stores.webhook_secrets(browser.services.secret_box, await browser.store())
    assert held[1] == again.secret
    assert made.secret in held


async def test_an_app_makes_none_for_each_account(browser: Browser) -> None:
    """The operator's one endpoint is for all; see `test_the_apps_endpoints`."""
    assert (await browser.get(await browser.agrees()))[0] == 200
    assert browser.sandbox.destinations.rows == []


async def test_the_judge_of_shapes_notices_what_does_not_fit(
    open_store: Opener, sandbox: StripeSandbox
) -> None:
    await open_store().subscribe(ADDRESS, Secret("proposal"))
    shown = sandbox.destinations.rows[0].show(frozenset(), is_live=False)
    assert list(misfits(shown, EventDestination)) == []
    for change in (
        {"status": "on"},
        {"created": 5},
        {"address": "x"},
        {"webhook_endpoint": {"link": "x"}},
        {"enabled_events": "x"},
    ):
        assert list(misfits({**shown, **change}, EventDestination)) != [], change
    assert list(misfits({"id": "ed_1"}, EventDestination)) != []
