"""A shop that is connected at another address: the same store where that is shown, and never by mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from connectors.base import Installation, Secret
from connectors.web import WebPage, WebRequest
from connectors.woocommerce.web import WooCommerceWeb
from rewards.errors import InvalidInputError, NotFoundError
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from storage import stores
from storage.database import Connection
from sync import occasions
from sync.install import Connected, install
from sync.push import push_store
from sync.reconcile import reconcile
from sync.site import PlatformSite
from tests.sync.shops import Shop, reward_for, rows

HOOK = "https://app.example/webhooks/woocommerce/{token}"


@pytest.fixture
async def lived_in(shop: Shop) -> Shop:
    """A shop with history, codes and webhooks of ours in it."""
    await reward_for(shop.services, shop.store)
    await occasions.run(shop.services)
    await push_store(shop.services, shop.store.id)
    await shop.services.open_store(shop.store).subscribe(HOOK.format(token=shop.store.token), Secret("s"))
    return shop


def elsewhere(shop: Shop) -> str:
    """Another name of the same machine, as another domain would be."""
    return shop.sandbox.url.replace("127.0.0.1", "localhost")


async def made(shop: Shop, url: str, sandbox: WooCommerceSandbox | None = None) -> Installation:
    flow = shop.services.connectors["woocommerce"].install
    answers = {**(sandbox or shop.sandbox).connect_answers(), "url": url}
    return await flow.installation(answers, shop.services.session)


async def connected(shop: Shop, url: str, **how: Any) -> Connected:
    return await install(shop.services, "woocommerce", await made(shop, url), **how)


async def known(shop: Shop) -> list[tuple[Any, ...]]:
    return await rows(shop.database, "SELECT id, external_id, api_base, status FROM stores ORDER BY id")


async def books(shop: Shop) -> list[list[tuple[Any, ...]]]:
    return [
        await rows(shop.database, f"SELECT count(*), count(DISTINCT store_id) FROM {table}")
        for table in ("orders", "store_customers", "grants", "promotion_codes", "ledger_entries")
    ]


async def test_a_shop_that_moved_keeps_its_history_and_codes(lived_in: Shop) -> None:
    before, codes = await books(lived_in), await lived_in.grants()
    assert codes
    new = elsewhere(lived_in)
    lived_in.sandbox.move_to(new)
    moved = await connected(lived_in, new)
    assert (moved.is_new, moved.former, moved.store.id) == (False, lived_in.sandbox.url, lived_in.store.id)
    assert await known(lived_in) == [(lived_in.store.id, new, new, "active")]
    assert await books(lived_in) == before
    report = await reconcile(lived_in.services, lived_in.store.id)
    assert (report.codes.checked, report.codes.differences) == (len(codes), [])
    assert await lived_in.grants() == codes
    audit = await rows(lived_in.database, "SELECT detail FROM audit_events WHERE action = 'store.moved'")
    assert audit == [({"from": lived_in.sandbox.url, "to": new},)]
    assert (await connected(lived_in, new)).former is None


async def test_a_shop_whose_old_address_is_nobodys_is_known_by_our_webhooks(lived_in: Shop) -> None:
    async with lived_in.database.transaction() as connection:
        await stores.move(connection, lived_in.store.id, "http://127.0.0.1:9")
    lived_in.sandbox.store_id = None  # an older one has no id of its own
    moved = await connected(lived_in, lived_in.sandbox.url)
    assert (moved.store.id, moved.former) == (lived_in.store.id, "http://127.0.0.1:9")


@pytest.fixture
async def copy(lived_in: Shop) -> AsyncIterator[WooCommerceSandbox]:
    """A copy of the shop for trying things out, at an address of its own: same keys, same webhooks, same id."""
    seed = Seed(number=lived_in.sandbox.world.seed.number, customers=3, orders=3)
    async with WooCommerceSandbox(World(seed)) as sandbox:
        sandbox.store_id = lived_in.sandbox.store_id
        sandbox.queue.webhooks = dict(lived_in.sandbox.queue.webhooks)
        yield sandbox


async def test_a_copy_is_not_taken_for_the_shop_nor_for_another_one(
    lived_in: Shop, copy: WooCommerceSandbox
) -> None:
    before = await known(lived_in)
    with pytest.raises(InvalidInputError, match=r"still answers at .* first delete Perennial's webhooks"):
        await connected(lived_in, copy.url)
    assert await known(lived_in) == before
    copy.queue.webhooks = {}
    second = await connected(lived_in, copy.url)
    assert (second.is_new, second.former) == (True, None)


async def test_on_the_operators_word_a_shop_moves_though_its_old_address_answers(
    lived_in: Shop, copy: WooCommerceSandbox
) -> None:
    moved = await connected(lived_in, copy.url, by_operator=True, moved_from=lived_in.store.id)
    assert (moved.store.id, moved.store.external_id) == (lived_in.store.id, copy.url)


async def test_its_own_id_alone_is_believed_with_the_same_key_or_on_the_operators_word(
    lived_in: Shop,
) -> None:
    await reconcile(lived_in.services, lived_in.store.id)  # which notes the id
    lived_in.sandbox.queue.webhooks.clear()
    new = elsewhere(lived_in)
    lived_in.sandbox.move_to(new)
    same = await made(lived_in, new)
    other_key = lived_in.sandbox.grants_key()
    other = replace(same, credentials={"key": Secret(other_key.key), "secret": Secret(other_key.secret)})
    with pytest.raises(InvalidInputError, match=r"connect woocommerce --moved-from 1"):
        await install(lived_in.services, "woocommerce", other)
    assert len(await known(lived_in)) == 1

    async def undo(connection: Connection, store_id: int) -> None:
        assert store_id == lived_in.store.id
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await install(lived_in.services, "woocommerce", other, by_operator=True, along=undo)
    moved = await install(lived_in.services, "woocommerce", same)
    assert moved.store.id == lived_in.store.id


async def test_another_shop_is_never_taken_for_one_of_ours(lived_in: Shop) -> None:
    async with WooCommerceSandbox(World(Seed(number=9, customers=3, orders=3))) as other:
        found = await made(lived_in, other.url, other)
        with pytest.raises(InvalidInputError, match="Nothing at this address shows that it is store 1"):
            await install(lived_in.services, "woocommerce", found, moved_from=lived_in.store.id)
        with pytest.raises(NotFoundError):
            await install(lived_in.services, "woocommerce", found, moved_from=77)
        second = await install(lived_in.services, "woocommerce", found)
        assert second.is_new
        with pytest.raises(InvalidInputError, match=f"store {second.store.id} already"):
            await install(lived_in.services, "woocommerce", found, moved_from=lived_in.store.id)


async def test_the_page_says_that_the_shop_came_with_all_it_had(lived_in: Shop) -> None:
    async def nothing(connection: Connection, store_id: int) -> None:
        pass

    new = elsewhere(lived_in)
    lived_in.sandbox.move_to(new)
    keys = lived_in.sandbox.connect_answers()
    form = {"url": new, "key": keys["key"], "secret": keys["secret"]}
    site = PlatformSite(lived_in.services, "woocommerce", nothing)
    page = await WooCommerceWeb().handle(WebRequest("POST", "keys", {}, form), site)
    assert isinstance(page, WebPage)
    assert any(f"It was connected at {lived_in.sandbox.url} before" in line for line in page.lines)
