"""A restricted key's permissions are found out one by one, before anything depends on them."""

from __future__ import annotations

import json
import re

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connectors.base import Secret, Store, StoreAccess, StoreOptions
from connectors.stripe import CONNECTOR
from connectors.stripe.permissions import ACCOUNT, PERMISSIONS, WEBHOOK_ENDPOINTS, Permission, notice
from rewards.errors import AccessRevokedError, InvalidInputError, RefusedError
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.conftest import Opener

EVERY = (*PERMISSIONS, WEBHOOK_ENDPOINTS)
NEEDED = [each for each in EVERY if each.is_needed]
OTHERS = [each for each in EVERY if not each.is_needed]
PASSED_ON = ("Authorization", "Content-Type", "Stripe-Version")
ADDRESS = "http://127.0.0.1:1/webhooks/stripe/token"


@pytest.fixture
def lacks(sandbox: StripeSandbox) -> set[str]:
    """What the sandbox's key lacks; add names to take permissions away."""
    return sandbox.access.keys[sandbox.key].lacks


async def test_a_key_that_may_do_everything_leaves_nothing_to_notice(store: Store) -> None:
    assert (await store.facts()).notices == ()


@pytest.mark.parametrize("permission", NEEDED, ids=lambda each: each.name)
async def test_a_key_without_what_every_store_needs_is_refused_with_its_name(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, lacks: set[str], permission: Permission
) -> None:
    lacks.add(permission.name)
    with pytest.raises(InvalidInputError) as caught:
        await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    told = str(caught.value)
    for words in (permission.label, permission.name, permission.lost):
        assert words in told
    assert not [each.name for each in EVERY if each is not permission and f"({each.name})" in told]
    assert sandbox.key not in told


@pytest.mark.parametrize("permission", OTHERS, ids=lambda each: each.name)
async def test_a_key_without_the_rest_is_taken_and_says_what_will_not_work(
    sandbox: StripeSandbox,
    session: aiohttp.ClientSession,
    open_store: Opener,
    lacks: set[str],
    permission: Permission,
) -> None:
    lacks.add(permission.name)
    assert await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    (said,) = (await open_store().facts()).notices
    assert said == notice(permission)


async def test_a_key_that_may_not_read_its_account_hears_what_stripe_calls_it(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, lacks: set[str]
) -> None:
    lacks.add("accounts_kyc_basic_read")
    with pytest.raises(InvalidInputError, match=ACCOUNT.label) as caught:
        await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    assert "accounts_kyc_basic_read" in str(caught.value)


async def test_several_missing_permissions_are_all_named_at_once(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, lacks: set[str]
) -> None:
    lacks |= {each.name for each in NEEDED}
    with pytest.raises(InvalidInputError) as caught:
        await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    assert re.findall(r"\((\w+_read)\)", str(caught.value)) == [each.name for each in NEEDED]


async def test_looking_at_permissions_makes_and_changes_nothing(
    sandbox: StripeSandbox, session: aiohttp.ClientSession, store: Store
) -> None:
    account = sandbox.account

    def held() -> str:
        shelves = (account.customers, account.coupons, account.codes, account.endpoints, account.events)
        return json.dumps([[account.shown(row) for row in shelf] for shelf in shelves])

    before = held()
    await CONNECTOR.install.installation(sandbox.connect_answers(), session)
    await store.facts()
    assert held() == before


async def test_a_permission_that_is_taken_away_later_is_named_and_pauses_nothing(
    store: Store, lacks: set[str]
) -> None:
    lacks.add("webhook_write")
    with pytest.raises(RefusedError) as caught:
        await store.subscribe(ADDRESS, Secret("proposal"))
    assert caught.value.code == "missing_permission"
    lacks.add("coupon_write")
    assert [said for said in (await store.facts()).notices if "Coupons: Write" in said]


async def test_a_key_that_was_rolled_is_told_with_the_way_to_a_new_one(
    sandbox: StripeSandbox, store: Store
) -> None:
    sandbox.access.keys.clear()
    with pytest.raises(AccessRevokedError, match="Make a new restricted key") as caught:
        await store.facts()
    assert sandbox.key not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost:4242", "ftp://api.example", "https://", "api"])
async def test_an_address_that_is_none_is_refused_before_the_key_leaves(
    session: aiohttp.ClientSession, address: str
) -> None:
    with pytest.raises(InvalidInputError, match="whole one"):
        await CONNECTOR.install.installation({"api-key": "rk_test_1", "api-base": address}, session)


async def test_any_server_that_speaks_the_api_will_do_also_below_a_path(
    sandbox: StripeSandbox, session: aiohttp.ClientSession
) -> None:
    async def forward(request: web.Request) -> web.Response:
        url = sandbox.url + request.path_qs.removeprefix("/stripe")
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        data = await request.read()
        async with session.request(request.method, url, headers=headers, data=data) as answer:
            return web.Response(
                body=await answer.read(), status=answer.status, content_type="application/json"
            )

    app = web.Application()
    app.router.add_route("*", "/stripe/{path:.*}", forward)
    async with TestServer(app) as server:
        answers = {"api-key": sandbox.key, "api-base": f" {server.make_url('/stripe/')}"}
        found = await CONNECTOR.install.installation(answers, session)
        access = StoreAccess(
            found.external_id, found.credentials, StoreOptions("EUR", "UTC", found.settings), found.api_base
        )
        store = CONNECTOR.open_store(access, session)
        assert (await store.facts()).external_id == f"{sandbox.account.id}:test"
        made = await store.subscribe(ADDRESS, Secret("proposal"))
        destinations = {row.id for row in sandbox.destinations.rows}
        assert set(made.external_ids) == set(sandbox.account.endpoints.by_id) | destinations
