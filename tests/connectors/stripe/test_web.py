"""Connecting a Stripe account in a browser: by agreeing to our app at Stripe, or by pasting a restricted key."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from sync.subscriptions import WebhookState, look_after
from tests.connectors.stripe.browser import Browser
from tests.sync.shops import rows


def held(browser: Browser) -> list[str]:
    """Every secret that the account or the developer holds."""
    access = browser.sandbox.access
    assert access.app is not None
    endpoint = browser.sandbox.connect_endpoints[0]
    return [*access.keys, *access.app.refresh_tokens, access.app.secret_key, endpoint.secret]


# -- the app ---------------------------------------------------------------------------------------------------------


async def test_agreeing_at_stripe_installs_the_account(browser: Browser) -> None:
    _, text, _ = await browser.get("")
    assert "/install/stripe/authorize?mode=test" in text
    assert "mode=live" not in text  # the operator has no app there
    status, page, _ = await browser.get(await browser.agrees())
    assert (status, "is connected, as store 1" in page) == (200, True)
    store = await browser.store()
    assert store.external_id == f"{browser.sandbox.account.id}:test"
    assert store.settings["mode"] == "test"
    # No app may read its account: what the merchant told.
    assert (store.name, store.currency, store.time_zone) == ("Ada's Shop", "EUR", "Europe/Madrid")
    assert store.notices == []
    assert set(browser.credentials(store)) == {"api_key", "refresh_token", "ends_at"}
    assert (await browser.services.open_store(store).facts()).name == store.name
    found = await rows(browser.services.database, "SELECT task_name FROM procrastinate_jobs")
    assert found == [("import_history",)]
    assert not [secret for secret in held(browser) if secret in text + page]
    assert len(browser.sandbox.account.endpoints) == 0  # its events come to the app's one endpoint


async def test_the_way_to_stripe_names_the_app_the_way_back_and_a_fresh_state(browser: Browser) -> None:
    links = [urlsplit((await browser.leaves())[2]) for _ in range(2)]
    asked = [parse_qs(link.query) for link in links]
    for each in asked:
        assert each["client_id"] == [browser.services.apps["stripe"]["test_client_id"].reveal()]
        assert each["redirect_uri"] == [f"{browser.address}/install/stripe/callback"]
        assert len(each["state"][0]) >= 32
    assert asked[0]["state"] != asked[1]["state"]


async def test_a_state_works_once_and_only_if_we_made_it(browser: Browser) -> None:
    back = await browser.agrees()
    assert (await browser.get(back))[0] == 200
    assert (await browser.get(back))[0] == 400
    status, text, _ = await browser.get("/callback?code=ac_1&state=made-up")
    assert (status, "not made here" in text) == (400, True)
    assert (await browser.get("/callback"))[0] == 400


async def test_a_code_that_was_used_or_made_up_installs_nothing(browser: Browser) -> None:
    back = await browser.agrees()
    status, text, _ = await browser.get(re.sub("code=[^&]*", "code=ac_made_up", back))
    assert (status, "five minutes" in text) == (400, True)
    assert await rows(browser.services.database, "SELECT id FROM stores") == []


async def test_a_merchant_who_says_no_installs_nothing_and_sees_no_text_of_others(browser: Browser) -> None:
    state = parse_qs(urlsplit((await browser.leaves())[2]).query)["state"][0]
    words = "error=access_denied&error_description=Send+us+money"
    status, text, _ = await browser.get(f"/callback?{words}&state={state}")
    assert (status, "did not give access" in text, "money" in text) == (400, True, False)


async def test_access_in_the_other_mode_is_refused(browser: Browser) -> None:
    back = await browser.agrees()
    browser.sandbox.access.mode = "live"
    status, text, _ = await browser.get(back)
    assert (status, "another mode" in text) == (400, True)
    assert await rows(browser.services.database, "SELECT id FROM stores") == []


async def test_a_mode_without_an_app_says_what_to_do(browser: Browser) -> None:
    for mode in ("live", "other"):
        status, text, _ = await browser.get(f"/authorize?mode={mode}")
        assert (status, "restricted key" in text) == (400, True)
    assert (await browser.get("/elsewhere"))[0] == 404


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", " ", "a name"),
        ("currency", "Euro", "three letters"),
        ("time_zone", "Madrid", "Europe/Madrid"),
    ],
)
async def test_what_the_merchant_tells_must_make_sense(
    browser: Browser, field: str, value: str, words: str
) -> None:
    status, text, _ = await browser.leaves(**{field: value})
    assert (status, words in text) == (400, True)


# -- a key -----------------------------------------------------------------------------------------------------------


async def test_a_restricted_key_can_be_pasted(browser: Browser) -> None:
    status, text = await browser.pastes(api_key=browser.sandbox.key)
    assert (status, "is connected, as store 1" in text) == (200, True)
    assert browser.sandbox.key not in text
    store = await browser.store()
    assert browser.credentials(store) == {"api_key": browser.sandbox.key}
    (endpoint,) = browser.sandbox.account.endpoints
    assert endpoint.url == store.webhook_address
    _, text = await browser.pastes(api_key=browser.sandbox.key)
    assert "is connected again" in text


async def test_a_pasted_key_that_will_not_do_is_refused_in_words(browser: Browser) -> None:
    browser.sandbox.access.keys[browser.sandbox.key].lacks.add("charge_read")
    for key, words in (
        (browser.sandbox.key, "Charges and Refunds: Read"),
        ("sk_live_everything", "can move money"),
        ("", "no Stripe API key"),
    ):
        status, text = await browser.pastes(api_key=key)
        assert status == 400
        assert words in text
        assert not key or key not in text
    assert await rows(browser.services.database, "SELECT id FROM stores") == []


async def test_a_key_without_webhook_endpoints_shows_what_to_add_and_takes_its_secret(
    browser: Browser,
) -> None:
    browser.sandbox.access.keys[browser.sandbox.key].lacks |= {"webhook_read", "webhook_write"}
    status, text = await browser.pastes(api_key=browser.sandbox.key)
    store = await browser.store()
    assert status == 200
    for words in (
        f"{browser.address}/webhooks/stripe/{store.token}",
        "customer.updated",
        "2026-10-28.endive",
    ):
        assert words in text
    assert (await browser.store()).webhook_address is None
    assert (await browser.pastes(api_key=browser.sandbox.key, webhook_secret="ck_1"))[0] == 400
    added = browser.sandbox.account.endpoints.create(
        {"url": f"{browser.address}/webhooks/stripe/{store.token}", "enabled_events": ["*"]}
    )
    status, text = await browser.pastes(api_key=browser.sandbox.key, webhook_secret=added.secret)
    assert (status, added.secret in text) == (200, False)
    store = await browser.store()
    assert store.webhook_address == added.url
    assert (await look_after(browser.services, store)).state is WebhookState.ON
    browser.sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 2_000})
    await browser.sandbox.hooks.quiet()
    assert len(browser.sandbox.hooks.accepted) == 2
