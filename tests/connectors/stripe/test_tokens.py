"""An app's access tokens end after an hour and its refresh tokens after one use: renewed once, stored, and used by all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from connectors.base import Secret
from connectors.besides import NeedsMaintenance
from rewards.errors import AccessRevokedError, RetryLaterError
from sandbox.stripe_access import Key
from storage import stores
from storage.stores import StoreRow
from tests.connectors.stripe.browser import Browser


async def installed(browser: Browser) -> StoreRow:
    """The account with our app, by OAuth."""
    assert (await browser.get(await browser.agrees()))[0] == 200
    return await browser.store()


def tokens(browser: Browser) -> list[Key]:
    """The access tokens that Stripe knows."""
    return [key for key in browser.sandbox.access.keys.values() if key.expires_at is not None]


def an_hour_passes(browser: Browser) -> None:
    """All access tokens are over for Stripe; our clock says nothing of it."""
    for key in tokens(browser):
        key.expires_at = 0.0


async def ended(browser: Browser, hours: float) -> StoreRow:
    """The store, whose access token ended so many hours ago by our clock."""
    store, box = await browser.store(), browser.services.secret_box
    ends_at = browser.services.clock().timestamp() - hours * 3600
    async with browser.services.database.transaction() as connection:
        found = {**browser.credentials(store), "ends_at": str(int(ends_at))}
        await stores.keep_secrets(connection, box, store.id, credentials=found)
    return await browser.store()


def refreshes(browser: Browser) -> int:
    assert browser.sandbox.access.app is not None
    return browser.sandbox.access.app.refreshes


async def test_an_ended_token_is_renewed_and_the_call_goes_on(browser: Browser) -> None:
    store = await installed(browser)
    before = browser.credentials(store)
    an_hour_passes(browser)
    assert (await browser.services.open_store(store).facts()).external_id == store.external_id
    after = browser.credentials(await browser.store())
    assert {name for name in before if before[name] == after[name]} <= {"ends_at"}
    assert refreshes(browser) == 1
    assert (await browser.services.open_store(await browser.store()).facts()).name
    assert refreshes(browser) == 1


async def test_a_token_that_ends_soon_is_renewed_before_it_is_refused(browser: Browser) -> None:
    await installed(browser)
    store = await ended(browser, hours=-1 / 60)
    asked = browser.sandbox.requests
    await browser.services.open_store(store).is_subscribed("https://nobody.example")
    await browser.services.open_store(store).unsubscribe("https://nobody.example")
    assert browser.sandbox.requests == asked  # an app's endpoint is the operator's: nothing to ask
    assert await browser.services.open_store(store).facts()
    assert refreshes(browser) == 1


async def test_two_workers_renew_once_and_both_go_on(browser: Browser) -> None:
    """Each with its own line for budgets and renewals, as two processes have, and several calls at a time."""
    store = await installed(browser)
    an_hour_passes(browser)
    workers = [browser.worker() for _ in range(2)]
    opened = [worker.open_store(store) for worker in workers for _ in range(2)]
    found = await asyncio.gather(*(each.facts() for each in opened))
    assert {facts.external_id for facts in found} == {store.external_id}
    assert refreshes(browser) == 1
    assert browser.sandbox.access.app is not None
    stored = browser.credentials(await browser.store())
    assert list(browser.sandbox.access.app.refresh_tokens) == [stored["refresh_token"]]


async def test_maintenance_renews_what_nobody_used_for_long_and_costs_nothing_else(browser: Browser) -> None:
    store = await installed(browser)
    asked = browser.sandbox.requests
    for hours, renewed in ((-0.5, 0), (11.9, 0), (12.1, 1)):
        store = await ended(browser, hours)
        opened = browser.services.open_store(store)
        assert isinstance(opened, NeedsMaintenance)
        await opened.maintain()
        assert browser.sandbox.requests - asked == renewed
    assert refreshes(browser) == 1


async def test_a_key_needs_no_maintenance(browser: Browser) -> None:
    assert (await browser.pastes(api_key=browser.sandbox.key))[0] == 200
    asked, opened = browser.sandbox.requests, browser.services.open_store(await browser.store())
    assert isinstance(opened, NeedsMaintenance)
    await opened.maintain()
    assert browser.sandbox.requests == asked


async def test_a_refresh_token_that_is_dead_ends_the_access_with_the_way_back(browser: Browser) -> None:
    store = await installed(browser)
    an_hour_passes(browser)
    assert browser.sandbox.access.app is not None
    browser.sandbox.access.app.refresh_tokens.clear()
    with pytest.raises(AccessRevokedError, match="install the app again"):
        await browser.services.open_store(store).facts()


async def test_a_wrong_key_of_the_operators_pauses_nobody(browser: Browser) -> None:
    await installed(browser)
    store = await ended(browser, hours=13)
    before = browser.credentials(store)
    for app, words in (({"test_secret_key": "sk_test_other"}, "not accept"), ({}, "hold no secret key")):
        apps = {"stripe": {name: Secret(text) for name, text in app.items()}}
        opened = replace(browser.services, apps=apps).open_store(store)
        assert isinstance(opened, NeedsMaintenance)
        with pytest.raises(RetryLaterError, match=words) as caught:
            await opened.maintain()
        assert "sk_test" not in str(caught.value)
    assert browser.credentials(await browser.store()) == before


@pytest.mark.parametrize("fault", ["server_errors", "cut", "malformed", "throttle"])
async def test_a_trouble_while_renewing_is_for_later_and_keeps_what_there_is(
    browser: Browser, fault: str
) -> None:
    await installed(browser)
    store = await ended(browser, hours=13)
    before = browser.credentials(store)
    setattr(browser.sandbox.faults, fault, 1)
    opened = browser.services.open_store(store)
    assert isinstance(opened, NeedsMaintenance)
    with pytest.raises(RetryLaterError):
        await opened.maintain()
    assert browser.credentials(await browser.store()) == before
    await opened.maintain()
    assert refreshes(browser) == 1
