"""How the access to a shop lasts: tokens renewed in time, on refusal, once for all, and what is told when it is over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Noun, Secret, StoreAccess
from connectors.shopify import CONNECTOR
from connectors.shopify.access import AccessToken
from connectors.shopify.grants import StaleIdTokenError, TokenDesk
from rewards.errors import AccessRevokedError, RetryLaterError
from sandbox.shopify import CLIENT_ID
from tests.connectors.shopify.case import deliver
from tests.connectors.shopify.shops import SEED, OneKeeper, Shop, a_shop


def ending(access: StoreAccess, name: str, **left: float) -> StoreAccess:
    """The access with a token that ends so soon."""
    end = (datetime.now(UTC) + timedelta(**left)).isoformat()
    credentials = {**access.credentials, f"{name}_ends_at": Secret(end)}
    return replace(access, credentials=credentials, keeper=OneKeeper(credentials))


def keeper(access: StoreAccess) -> OneKeeper:
    assert isinstance(access.keeper, OneKeeper)
    return access.keeper


def desk(shop: Shop, *secrets: str) -> TokenDesk:
    found = tuple(Secret(text) for text in secrets or (shop.sandbox.client_secret,))
    return TokenDesk(shop.sandbox.url, Secret(CLIENT_ID), found, shop.session)


# -- an installed app ------------------------------------------------------------------------------------------------


async def test_a_token_that_ends_soon_is_renewed_before_it_is_used() -> None:
    async with a_shop() as shop:
        access = ending(await shop.installed(), "access", minutes=4)
        before = shop.sandbox.requests
        await shop.store(access).facts()
        assert keeper(access).renewals == 1
        assert shop.sandbox.requests == before + 1 + 4, "one refresh, and no call that was refused"


async def test_a_token_that_is_good_for_longer_is_left_alone() -> None:
    async with a_shop() as shop:
        access = ending(await shop.installed(), "access", minutes=6)
        await shop.store(access).facts()
        assert keeper(access).renewals == 0


async def test_the_new_pair_is_stored_whole_and_opens_the_shop_next_time() -> None:
    async with a_shop() as shop:
        access = ending(await shop.installed(), "access", minutes=1)
        await shop.store(access).facts()
        kept = keeper(access).credentials
        assert kept.keys() == access.credentials.keys()
        assert not {kept[name] for name in ("access_token", "refresh_token")} & set(
            access.credentials.values()
        )
        life = datetime.fromisoformat(kept["access_ends_at"].reveal()) - datetime.now(UTC)
        assert timedelta(minutes=59) < life < timedelta(minutes=61)
        shop.sandbox.expire_tokens()
        await shop.store(replace(access, credentials=kept)).facts()
        assert keeper(access).renewals == 2


async def test_a_token_that_ends_in_the_middle_of_an_export_is_renewed_there() -> None:
    async with a_shop(replace(SEED, orders=4_300)) as shop:
        access = await shop.installed()
        store = shop.store(access)
        [window] = await store.windows(Noun.ORDERS, None)
        pages = store.read(window, None)
        await anext(pages)
        shop.sandbox.expire_tokens()
        assert sum([len(page.changes) async for page in pages]) == 4_300
        assert keeper(access).renewals == 1


async def test_two_workers_refresh_once() -> None:
    async with a_shop() as shop:
        access = await shop.installed()
        shop.sandbox.expire_tokens()
        granted = shop.sandbox.oauth.granted
        await asyncio.gather(*(shop.store(access).facts() for _ in range(4)))
        assert shop.sandbox.oauth.granted == granted + 1
        assert keeper(access).renewals == 1


async def test_what_another_process_renewed_long_ago_is_not_used_any_more() -> None:
    async with a_shop() as shop:
        access = ending(await shop.installed(), "access", minutes=-90)
        theirs = {**access.credentials, "access_token": Secret("shpat_theirs_of_an_hour_ago")}
        kept = OneKeeper(theirs)
        before = shop.sandbox.requests
        await shop.store(replace(access, keeper=kept)).facts()
        assert kept.renewals == 1
        assert shop.sandbox.requests == before + 1 + 4, "no call with a token that has ended"


async def test_a_refresh_whose_answer_is_lost_can_be_tried_again() -> None:
    async with a_shop() as shop:
        access = await shop.installed(patience_seconds="0")
        shop.sandbox.expire_tokens()
        shop.sandbox.faults.spare, shop.sandbox.faults.cut_answers = 1, 1
        with pytest.raises(RetryLaterError):
            await shop.store(access).facts()
        assert keeper(access).renewals == 0
        await shop.store(access).facts()
        assert keeper(access).renewals == 1


async def test_a_dead_refresh_token_tells_the_merchant_to_open_the_app() -> None:
    async with a_shop() as shop:
        access = await shop.installed()
        shop.sandbox.expire_tokens()
        shop.sandbox.oauth.kill_refresh_tokens()
        with pytest.raises(AccessRevokedError, match="open Perennial once"):
            await shop.store(access).facts()


async def test_an_uninstalled_app_has_no_access_and_is_told_so() -> None:
    async with a_shop() as shop:
        access = await shop.installed()
        shop.sandbox.uninstall()
        with pytest.raises(AccessRevokedError, match="installed"):
            await shop.store(access).facts()


async def test_silent_shops_are_refreshed_monthly_and_not_more_often() -> None:
    async with a_shop() as shop:
        young = ending(await shop.installed(), "refresh", days=61)
        before = shop.sandbox.requests
        await shop.store(young).maintain()
        assert shop.sandbox.requests == before, "what is not due costs no request"
        old = ending(await shop.installed(), "refresh", days=59)
        await shop.store(old).maintain()
        assert keeper(old).renewals == 1
        end = datetime.fromisoformat(keeper(old).credentials["refresh_ends_at"].reveal())
        assert end - datetime.now(UTC) > timedelta(days=89)


async def test_maintaining_asks_nothing_for_the_other_ways_in() -> None:
    async with a_shop() as shop:
        store = shop.store(await shop.connected())
        before = shop.sandbox.requests
        await store.maintain()
        assert shop.sandbox.requests == before


async def test_an_installed_app_goes_on_with_a_new_client_secret() -> None:
    async with a_shop() as shop:
        access = await shop.installed()
        shop.sandbox.rotate_secret("shpss_the_new_one_0123456789abcdef01")
        shop.sandbox.oauth.client_secrets.pop()
        shop.sandbox.expire_tokens()
        await shop.store(replace(access, app=shop.app)).facts()
        assert keeper(access).renewals == 1


async def test_the_former_secret_is_tried_while_shopify_does_not_know_the_new_one() -> None:
    async with a_shop() as shop:
        access = await shop.installed()
        shop.sandbox.expire_tokens()
        rotated = shop.app | {
            "client_secret": Secret("shpss_not_deployed_yet"),
            "old_client_secret": shop.app["client_secret"],
        }
        await shop.store(replace(access, app=rotated)).facts()
        assert keeper(access).renewals == 1


async def test_without_the_operators_settings_the_shop_waits_and_is_not_given_up() -> None:
    async with a_shop() as shop:
        access = replace(await shop.installed(patience_seconds="0"), app={})
        shop.sandbox.expire_tokens()
        with pytest.raises(RetryLaterError, match="PERENNIAL_APPS__SHOPIFY__CLIENT_ID"):
            await shop.store(access).facts()


# -- apps of the shop's own ------------------------------------------------------------------------------------------


async def test_a_granted_token_is_kept_for_the_next_process() -> None:
    async with a_shop() as shop:
        access = await shop.connected()
        access = replace(access, keeper=OneKeeper(access.credentials))
        await shop.store(access).facts()
        kept = replace(access, credentials=keeper(access).credentials)
        granted = shop.sandbox.oauth.granted
        await shop.store(kept).facts()
        assert shop.sandbox.oauth.granted == granted
        assert keeper(access).credentials.keys() == {
            "client_id",
            "client_secret",
            "access_token",
            "access_ends_at",
        }


async def test_a_granted_token_is_renewed_before_its_day_is_over() -> None:
    async with a_shop() as shop:
        at = [datetime.now(UTC)]
        access = replace(await shop.connected(), keeper=None)
        token = AccessToken(access, shop.session, lambda: at[0])
        first = await token.get()
        at[0] += timedelta(hours=23)
        assert await token.get() == first
        at[0] += timedelta(minutes=56)
        assert await token.get() != first


async def test_an_own_app_whose_secret_is_being_replaced_is_connected_with_both() -> None:
    async with a_shop() as shop:
        former = shop.sandbox.client_secret
        shop.sandbox.rotate_secret("shpss_the_new_one_0123456789abcdef01")
        answers = shop.sandbox.connect_answers() | {"old-client-secret": former}
        installed = await CONNECTOR.install.installation(answers, shop.session)
        signing = [secret.reveal() for secret in installed.webhook_secrets]
        assert signing == ["shpss_the_new_one_0123456789abcdef01", former]
        post = deliver("orders/paid", b"{}", Secret(former), datetime.now(UTC), "")
        CONNECTOR.webhooks.verify(post, installed.webhook_secrets, datetime.now(UTC))


# -- the token endpoint ----------------------------------------------------------------------------------------------


async def test_an_id_token_that_is_too_old_is_stale_and_a_wrong_client_is_told() -> None:
    async with a_shop() as shop:
        now = datetime.now(UTC)
        stale = shop.sandbox.oauth.id_token(exp=int(now.timestamp()) - 1)
        with pytest.raises(StaleIdTokenError):
            await desk(shop).exchanged(Secret(stale), now)
        with pytest.raises(AccessRevokedError, match="client id and secret"):
            await desk(shop, "shpss_wrong").exchanged(Secret(shop.sandbox.oauth.id_token()), now)


async def test_an_exchange_asks_for_a_token_that_ends() -> None:
    async with a_shop() as shop:
        pair = await desk(shop).exchanged(Secret(shop.sandbox.oauth.id_token()), datetime.now(UTC))
        assert pair.keys() == {"access_token", "access_ends_at", "refresh_token", "refresh_ends_at"}
        assert shop.sandbox.oauth.opens(pair["access_token"].reveal())


@pytest.mark.parametrize("status", [402, 403, 423])
async def test_a_shop_that_shopify_has_closed_is_paused_with_the_reason(status: int) -> None:
    async with a_shop() as shop:
        store = shop.store(await shop.installed())
        shop.sandbox.closed_with = status
        with pytest.raises(AccessRevokedError, match="shop"):
            await store.facts()


async def test_the_stand_in_takes_a_used_refresh_token_until_its_replacement_is_used() -> None:
    async with a_shop() as shop:
        now = datetime.now(UTC)
        first = (await shop.installed()).credentials["refresh_token"]
        second = (await desk(shop).refreshed(first, now))["refresh_token"]
        third = (await desk(shop).refreshed(first, now))["refresh_token"]
        assert len({first, second, third}) == 3
        await desk(shop).refreshed(third, now)
        with pytest.raises(AccessRevokedError):
            await desk(shop).refreshed(first, now)
