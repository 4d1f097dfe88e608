"""The operator's app at Stripe: looked at by `apps` and `doctor`, and its Connect endpoint made by `apps setup`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.base import Secret
from connectors.stripe.client import API_VERSION
from connectors.stripe.webhooks import THIN_TOPICS, TOPICS
from sandbox.world import Seed, World
from tests.app.command_line import CommandLine
from tests.connectors.stripe.browser import Browser
from tests.connectors.stripe.test_destinations import use_up
from tests.connectors.stripe.test_endpoints import inbox, with_app
from tests.sandbox.listening import Listening, problems

PUBLIC = "https://perennial.example"
ADDRESS = f"{PUBLIC}/webhooks/stripe"
SETTING = "PERENNIAL_APPS__STRIPE__TEST_"


@pytest.fixture
async def stripe() -> AsyncIterator[Listening]:
    """An account that can install the operator's app, which has no endpoint yet."""
    shop = Listening(World(Seed(customers=5, orders=5, number=21), base_is_total=True))
    shop.limiter_on = False
    shop.offer_app(f"{PUBLIC}/install/stripe/callback")
    async with shop:
        yield shop
    assert list(problems(shop.exchanges)) == []


@pytest.fixture
def operator(stripe: Listening, tmp_path: Path) -> CommandLine:
    assert stripe.access.app
    return CommandLine(
        {
            "PERENNIAL_DATA_DIR": str(tmp_path),
            "PERENNIAL_PUBLIC_URL": PUBLIC,
            f"{SETTING}CLIENT_ID": stripe.access.app.client_id,
            f"{SETTING}SECRET_KEY": stripe.access.app.secret_key,
            "PERENNIAL_APPS__STRIPE__API_BASE": stripe.url,
        }
    )


async def look(operator: CommandLine, *words: str, **more: str) -> tuple[int, list[str]]:
    """Exit status, and what is wrong."""
    done = await operator.run("apps", *words, "--json", **more)
    found = json.loads(done.out)
    assert found["ok"] is all(each["ok"] for each in found["findings"])
    return done.status, [each["detail"] for each in found["findings"] if not each["ok"]]


async def test_a_missing_endpoint_is_named_and_made_and_its_secret_told_once(
    operator: CommandLine, stripe: Listening
) -> None:
    status, wrong = await look(operator)
    assert (status, len(wrong)) == (1, 2)
    assert "WEBHOOK_SECRET" in wrong[0]
    assert ADDRESS in wrong[1]
    assert "apps setup stripe" in wrong[1]
    done = await operator.run("apps", "setup", "stripe")
    assert done.status == 0, done.err
    (endpoint,) = stripe.connect_endpoints
    assert (endpoint.url, set(endpoint.enabled_events)) == (ADDRESS, set(TOPICS))
    assert endpoint.api_version == "2026-10-28.endive"
    (destination,) = stripe.destinations.rows
    assert (destination.events_from, destination.enabled_events) == (["@accounts"], list(THIN_TOPICS))
    told = f"{SETTING}WEBHOOK_SECRET={endpoint.secret}\n{SETTING}THIN_WEBHOOK_SECRET={destination.secret}\n"
    assert done.out.endswith(told)
    made = {f"{SETTING}WEBHOOK_SECRET": endpoint.secret}
    assert await look(operator, **made) == (0, [])
    again = await operator.read("apps", "setup", "stripe", **made)
    assert (again["ok"], again["settings"], len(stripe.connect_endpoints)) == (True, {}, 1)


async def test_one_that_was_switched_off_or_lacks_events_is_put_right_with_its_secret_kept(
    operator: CommandLine, stripe: Listening
) -> None:
    given = {f"{SETTING}WEBHOOK_SECRET": "whsec_held"}
    await operator.said("apps", "setup", "stripe", **given)
    (endpoint,) = stripe.connect_endpoints
    secret = endpoint.secret
    endpoint.status = "disabled"
    endpoint.enabled_events.remove("charge.succeeded")
    status, wrong = await look(operator, **given)
    assert status == 1
    assert "it is disabled" in wrong[0]
    assert "it lacks the events charge.succeeded" in wrong[0]
    found = await operator.read("apps", "setup", "stripe", **given)
    assert (found["settings"], endpoint.status, endpoint.secret) == ({}, "enabled", secret)
    assert await look(operator, **given) == (0, [])


async def test_one_of_an_older_version_is_replaced_and_the_old_one_named(
    operator: CommandLine, stripe: Listening
) -> None:
    assert stripe.access.app
    old = stripe.access.app.endpoints.create(
        {"url": ADDRESS, "enabled_events": ["*"], "api_version": "2020-08-27", "connect": "true"}
    )
    given = {f"{SETTING}WEBHOOK_SECRET": "whsec_held"}
    _, wrong = await look(operator, **given)
    assert "its API version is 2020-08-27" in wrong[0]
    found = await operator.read("apps", "setup", "stripe", **given)
    assert any(f"delete {old.id} in the Dashboard" in each["detail"] for each in found["findings"])
    assert f"{SETTING}WEBHOOK_SECRET" in found["settings"]
    assert await look(operator, **given) == (0, [])


async def test_the_doctor_looks_at_the_app_too_and_tells_no_secret(
    operator: CommandLine, stripe: Listening
) -> None:
    done = await operator.run("doctor", "--json")
    named = [each for each in json.loads(done.out)["findings"] if each["name"] == "stripe app, test mode"]
    assert [each["ok"] for each in named] == [False, False]
    assert done.status == 1
    assert stripe.access.app
    assert stripe.access.app.secret_key not in done.out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({f"{SETTING}SECRET_KEY": ""}, "TEST_SECRET_KEY is not set"),
        ({f"{SETTING}SECRET_KEY": "sk_live_x"}, "no secret key of test mode"),
        ({f"{SETTING}SECRET_KEY": "sk_test_rolled"}, "no longer accepts"),
        ({"PERENNIAL_APPS__STRIPE__API_BASE": "http://127.0.0.1:1"}, "could not be reached"),
        ({"PERENNIAL_PUBLIC_URL": ""}, "PERENNIAL_PUBLIC_URL is not set"),
    ],
)
async def test_what_keeps_us_from_looking_is_said(
    operator: CommandLine, changed: dict[str, str], words: str
) -> None:
    variables = {name: value for name, value in {**operator.variables, **changed}.items() if value}
    status, wrong = await look(CommandLine(variables))
    assert status == 1
    assert any(words in each for each in wrong), wrong


async def test_without_an_app_there_is_nothing_to_look_at_or_to_set_up(tmp_path: Path) -> None:
    nobody = CommandLine({"PERENNIAL_DATA_DIR": str(tmp_path)})
    assert "No app is set up" in await nobody.said("apps")
    assert "no app of stripe" in await nobody.failed("apps", "setup", "stripe")


async def test_thin_events_of_an_installed_account_are_taken_by_the_apps_own_secret(browser: Browser) -> None:
    """What `apps setup` made and the operator has set: the event names its account in `context`."""
    store = await with_app(browser)
    app = browser.sandbox.access.app
    assert app
    headers = {"Authorization": f"Bearer {app.secret_key}", "Stripe-Version": API_VERSION}
    asked = {
        "name": "x", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": list(THIN_TOPICS),
        "events_from": ["@accounts"], "webhook_endpoint": {"url": f"{browser.address}/webhooks/stripe"},
    }  # fmt: skip
    url = f"{browser.sandbox.url}/v2/core/event_destinations"
    async with browser.session.post(url, json=asked, headers=headers) as answer:
        assert answer.status == 200
    browser.sandbox.connect_endpoints[0].status = "disabled"
    (destination,) = browser.sandbox.destinations.rows
    mine = browser.services.apps["stripe"]
    assert isinstance(mine, dict)
    mine["test_thin_webhook_secret"] = Secret(replace(destination).secret)
    use_up(browser.sandbox)
    await browser.sandbox.hooks.quiet()
    assert await inbox(browser) == [(next(iter(THIN_TOPICS)), store.id)]
