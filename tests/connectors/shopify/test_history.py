"""What a shop's past is read by: files, also those that ended early, and pages; with and without what names people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.base import Noun, Page, RawDelivery, Secret, StoreOptions, Window
from connectors.shopify import CONNECTOR
from connectors.shopify.store import ShopifyStore
from connectors.shopify.webhooks import finished_key
from rewards.changes import Change, CustomerSaved, LookAgain, OrderSaved
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import Birthday, Customer
from sandbox.shopify_bulk import Operation
from sandbox.world import Seed
from tests.connectors.shopify.shops import Shop, a_shop

MANY = Seed(number=8, customers=500, orders=4_300)
FEW = Seed(number=8, customers=60, orders=90)
EXPORT = Window(Noun.ORDERS, {"search": ""})


async def read(store: ShopifyStore, window: Window, after: Mapping[str, object] | None = None) -> list[Page]:
    return [page async for page in store.read(window, after)]


def numbers(pages: list[Page]) -> list[str]:
    return [c.order.external_id for page in pages for c in page.changes if isinstance(c, OrderSaved)]


def changes(pages: list[Page]) -> list[Change]:
    return [change for page in pages for change in page.changes]


def customers(pages: list[Page]) -> list[Customer]:
    return [change.customer for change in changes(pages) if isinstance(change, CustomerSaved)]


async def opened(shop: Shop, **settings: str) -> ShopifyStore:
    return shop.store(await shop.connected(**settings))


async def operation_of(shop: Shop, store: ShopifyStore) -> tuple[Operation, Mapping[str, object] | None]:
    """An export that has been written and not been read yet, and the cursor that takes it up."""
    pages = store.read(EXPORT, None)
    cursor = (await anext(pages)).cursor
    [operation] = shop.sandbox.bulk.operations.values()
    await shop.sandbox.bulk.settled()
    return operation, cursor


async def test_a_post_that_tells_of_an_exports_end_ends_the_wait_for_it() -> None:
    async with a_shop(FEW) as shop:
        shop.sandbox.bulk.open.clear()
        looked_for: list[str] = []

        async def has_come(key: str) -> bool:
            """The export ends, and its post comes, at the first look for it."""
            looked_for.append(key)
            shop.sandbox.bulk.open.set()
            await shop.sandbox.bulk.settled()
            return True

        store = shop.store(replace(await shop.connected(), has_come=has_come))
        pages = await read(store, EXPORT)
        [operation] = shop.sandbox.bulk.operations.values()
        assert looked_for == [finished_key(operation.gid)]
        assert len(numbers(pages)) == FEW.orders


@pytest.mark.parametrize("status", ["FAILED", "CANCELED", "EXPIRED"])
@pytest.mark.parametrize("cut", [0, 70])
async def test_an_export_that_ended_early_is_read_and_gone_on_with_after_its_last_line(
    status: str, cut: int
) -> None:
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        operation, cursor = await operation_of(shop, store)
        shop.sandbox.bulk.end_early(operation, status, lines=2_500, cut=cut)
        pages = await read(store, EXPORT, cursor)
        assert len(numbers(pages)) == MANY.orders, "nothing twice, nothing left out"
        assert len(set(numbers(pages))) == MANY.orders
        [_, second] = shop.sandbox.bulk.operations.values()
        assert second.count == MANY.orders - 2_500


async def test_a_part_is_taken_up_after_a_crash_in_its_middle() -> None:
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        operation, cursor = await operation_of(shop, store)
        shop.sandbox.bulk.end_early(operation, "FAILED", lines=3_500)
        whole = await read(store, EXPORT, cursor)
        for place, page in enumerate(whole[:-1]):
            rest = await read(await opened(shop), EXPORT, page.cursor)
            assert numbers(rest) == numbers(whole[place + 1 :])


async def test_a_part_whose_lines_come_in_no_order_is_not_gone_on_with() -> None:
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        operation, cursor = await operation_of(shop, store)
        shop.sandbox.bulk.end_early(operation, "FAILED", lines=1_000)
        assert operation.partial_path is not None
        lines = operation.partial_path.read_bytes().splitlines(keepends=True)
        operation.partial_path.write_bytes(b"".join([*lines[500:], *lines[:500]]))
        pages = await read(store, EXPORT, cursor)
        assert set(numbers(pages)) == {str(5_000_000_001 + number) for number in range(MANY.orders)}


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_a_file_whose_address_has_expired_is_written_again(status: str) -> None:
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        operation, cursor = await operation_of(shop, store)
        if status == "FAILED":
            shop.sandbox.bulk.end_early(operation, status, lines=2_500)
        operation.is_expired = True
        pages = await read(store, EXPORT, cursor)
        assert len(set(numbers(pages))) == len(numbers(pages)) == MANY.orders
        assert len(shop.sandbox.bulk.operations) == 2


async def test_a_new_export_that_ends_early_without_a_line_is_for_later() -> None:
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        pages = store.read(EXPORT, None)
        await anext(pages)
        [operation] = shop.sandbox.bulk.operations.values()
        await shop.sandbox.bulk.settled()
        shop.sandbox.bulk.end_early(operation, "FAILED", lines=0, cut=30)
        with pytest.raises(RetryLaterError):
            await anext(pages)


async def test_a_few_rows_are_paged_without_an_export_and_many_are_exported() -> None:
    async with a_shop(FEW) as shop:
        store = await opened(shop)
        for noun, count in ((Noun.CUSTOMERS, 60), (Noun.ORDERS, 90)):
            [window] = await store.windows(noun, None)
            assert len(changes(await read(store, window))) == count
        assert shop.sandbox.bulk.operations == {}
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        for noun in (Noun.CUSTOMERS, Noun.ORDERS):
            [window] = await store.windows(noun, None)
            await read(store, window)
        assert len(shop.sandbox.bulk.operations) == 2


async def test_a_long_history_is_written_in_several_files_at_once_that_share_it_out() -> None:
    long = replace(FEW, orders=10_400)
    async with a_shop(long) as shop:
        store = await opened(shop)
        windows = await store.windows(Noun.ORDERS, None)
        assert len(windows) == 4
        assert sum(window.expected or 0 for window in windows) == long.orders
        shop.sandbox.bulk.open.clear()
        readers = [store.read(window, None) for window in windows]
        begun = [await anext(reader) for reader in readers]
        assert len(shop.sandbox.bulk.operations) == len(begun) == 4
        assert not any(operation.is_over for operation in shop.sandbox.bulk.operations.values())
        shop.sandbox.bulk.open.set()
        parts = [numbers([page async for page in reader]) for reader in readers]
        assert all(parts)
        found = [number for part in parts for number in part]
        assert len(found) == len(set(found)) == long.orders
        changed = await store.windows(Noun.ORDERS, long.now - timedelta(days=3_000))
        assert all(str(window.spec["search"]).startswith("updated_at:>=") for window in changed)
        assert await store.windows(Noun.ORDERS, long.now + timedelta(days=1)) == ()


async def test_a_long_history_of_one_moment_is_one_file() -> None:
    async with a_shop(replace(FEW, orders=10_400)) as shop:
        at = shop.sandbox.world.sales[0].placed_at
        for sale in shop.sandbox.world.sales:
            sale.placed_at = at
        [window] = await (await opened(shop)).windows(Noun.ORDERS, None)
        assert (window.spec["search"], window.expected) == ("", 10_400)


async def test_catching_up_reads_what_changed_and_asks_nothing_more_when_nothing_did() -> None:
    async with a_shop(MANY) as shop:
        store = await opened(shop)
        since = datetime.now(UTC) - timedelta(seconds=5)
        assert await store.windows(Noun.ORDERS, since + timedelta(days=1)) == ()
        placed = [
            str(shop.sandbox.place_order({"email": "a@people.example", "subtotal_minor": 900})["order"])
            for _ in range(60)
        ]
        [window] = await store.windows(Noun.ORDERS, since)
        pages = await read(store, window)
        assert set(numbers(pages)) >= set(placed)
        assert len(pages) > 1
        assert shop.sandbox.bulk.operations == {}


async def test_an_order_is_equal_by_page_and_by_export() -> None:
    async with a_shop(FEW) as shop:
        store = await opened(shop)
        for noun in (Noun.CUSTOMERS, Noun.ORDERS):
            by_page = changes(await read(store, Window(noun, {"search": "", "by": "pages"})))
            by_export = changes(await read(store, Window(noun, {"search": ""})))
            assert sorted(by_page, key=repr) == sorted(by_export, key=repr)


async def test_without_read_all_orders_sixty_days_are_seen_and_the_shop_is_told() -> None:
    async with a_shop(MANY) as shop:
        shop.sandbox.oauth.scopes.remove("read_all_orders")
        store = await opened(shop)
        pages = await read(store, EXPORT)
        first = datetime.now(UTC) - timedelta(days=60)
        placed = [change.order.placed_at for change in changes(pages) if isinstance(change, OrderSaved)]
        assert 0 < len(placed) < MANY.orders
        assert min(placed) >= first - timedelta(minutes=1)
        assert any("60 days" in notice for notice in (await store.facts()).notices)


# -- without protected customer data level 2 -------------------------------------------------------------------------


@pytest.mark.parametrize("in_bulk", ["fail", "null"])
async def test_without_people_an_export_goes_by_customers_numbers(in_bulk: str) -> None:
    async with a_shop(MANY) as shop:
        shop.sandbox.people_shown, shop.sandbox.people_in_bulk = False, in_bulk
        store = await opened(shop)
        read_customers = customers(await read(store, Window(Noun.CUSTOMERS, {"search": ""})))
        assert len(read_customers) == MANY.customers
        assert {(c.email, c.name) for c in read_customers} == {(None, None)}
        assert any(c.birthday for c in read_customers)
        orders = [c.order for c in changes(await read(store, EXPORT)) if isinstance(c, OrderSaved)]
        assert len(orders) == MANY.orders
        assert {order.email for order in orders} == {None}
        known = {customer.external_id for customer in read_customers}
        theirs = {order.customer_external_id for order in orders}
        assert None in theirs, "guests stay unmatched"
        assert theirs - {None} <= known
        assert any("protected customer data" in notice for notice in (await store.facts()).notices)


@pytest.mark.parametrize("in_bulk", ["fail", "null"])
async def test_without_phone_numbers_an_export_still_has_names_and_addresses(in_bulk: str) -> None:
    async with a_shop(MANY) as shop:
        shop.sandbox.phones_shown, shop.sandbox.people_in_bulk = False, in_bulk
        store = await opened(shop)
        found = customers(await read(store, Window(Noun.CUSTOMERS, {"search": ""})))
        assert len(found) == MANY.customers
        assert all(customer.email and customer.name for customer in found)
        assert {customer.phone for customer in found} == {None}
        assert len(numbers(await read(store, EXPORT))) == MANY.orders


async def test_without_phone_numbers_pages_and_looks_still_have_names_and_addresses() -> None:
    async with a_shop(FEW) as shop:
        store = await opened(shop)
        [window] = await store.windows(Noun.CUSTOMERS, None)
        seen = customers(await read(store, window))
        assert sum(customer.phone is not None for customer in seen) > FEW.customers / 2
        shop.sandbox.phones_shown = False
        hidden = customers(await read(store, window))
        assert hidden == [replace(customer, phone=None) for customer in seen]
        asked = shop.sandbox.requests
        [again] = await store.look(LookAgain("customer", seen[0].external_id))
        assert again == CustomerSaved(hidden[0])
        assert shop.sandbox.requests == asked + 1, "what was refused is not asked for again"


async def test_without_people_posts_say_nothing_of_them() -> None:
    async with a_shop(FEW) as shop:
        shop.sandbox.people_shown = False
        shop.sandbox.hook_desk.app_uri = (
            "http://127.0.0.1:9/webhooks"  # reaches nobody; what was sent is looked at
        )
        posts, shop.sandbox.hooks.retries = shop.sandbox.hooks.sent, 0
        shop.sandbox.sign_up("Ada Abel", "ada@people.example", None)
        shop.sandbox.place_order({"email": "guest@people.example", "subtotal_minor": 5_000})
        await shop.sandbox.hooks.quiet()
        assert posts
        for post in posts:
            assert b"people.example" not in post.body
            delivery = RawDelivery({k.lower(): v for k, v in post.headers.items()}, post.body)
            for change in CONNECTOR.webhooks.parse(delivery, StoreOptions("EUR", "Europe/Madrid")):
                who = change.customer if isinstance(change, CustomerSaved) else change.order  # type: ignore[union-attr]
                assert who.email is None


async def test_without_people_pages_and_looks_go_by_customers_numbers() -> None:
    async with a_shop(FEW) as shop:
        shop.sandbox.people_shown = False
        store = await opened(shop)
        [window] = await store.windows(Noun.CUSTOMERS, None)
        found = customers(await read(store, window))
        assert len(found) == FEW.customers
        assert {customer.email for customer in found} == {None}
        [window] = await store.windows(Noun.ORDERS, None)
        assert len(numbers(await read(store, window))) == FEW.orders
        [saved] = await store.look(LookAgain("customer", found[0].external_id))
        assert saved == CustomerSaved(found[0])


# -- customers -------------------------------------------------------------------------------------------------------


async def test_the_shops_kind_of_accounts_is_asked_for_and_decides_who_has_one() -> None:
    async with a_shop(FEW) as shop:
        shop.sandbox.views.customer_accounts = "CLASSIC"
        invited = next(iter(shop.sandbox.customers))
        shop.sandbox.views.states[invited] = "INVITED"
        facts = await (await opened(shop)).facts()
        assert facts.settings["customer_accounts"] == "CLASSIC"
        store = await opened(shop, **facts.settings)
        [window] = await store.windows(Noun.CUSTOMERS, None)
        without = [c.external_id for c in customers(await read(store, window)) if not c.has_account]
        assert without == [invited]


async def test_members_may_be_told_by_a_tag() -> None:
    async with a_shop(FEW) as shop:
        tagged = list(shop.sandbox.customers)[3]
        shop.sandbox.views.tags[tagged] = ["Club", "vip"]
        store = await opened(shop, accounts="tag:club")
        for window in (Window(Noun.CUSTOMERS, {"search": ""}), *await store.windows(Noun.CUSTOMERS, None)):
            found = customers(await read(store, window))
            assert [c.external_id for c in found if c.has_account] == [tagged]


@pytest.mark.parametrize("settings", [{}, {"birthday_key": "loyalty.born_on"}])
async def test_a_birthday_that_is_written_is_read_back_everywhere(settings: dict[str, str]) -> None:
    async with a_shop(FEW) as shop:
        store = await opened(shop, **settings)
        number = next(iter(shop.sandbox.customers))
        for day in (Birthday(2, 29), Birthday(5, 17, 1990)):
            await store.write_birthday(number, day)
            [saved] = await store.look(LookAgain("customer", number))
            assert isinstance(saved, CustomerSaved)
            assert saved.customer.birthday == day
            for window in (
                Window(Noun.CUSTOMERS, {"search": ""}),
                *await store.windows(Noun.CUSTOMERS, None),
            ):
                found = {c.external_id: c for c in customers(await read(store, window))}
                assert found[number].birthday == day


async def test_what_is_written_is_seen_in_the_admin_since_shopifys_definition_is_on() -> None:
    async with a_shop(FEW) as shop:
        one, other, *_ = shop.sandbox.customers
        for _ in range(2):  # another process finds it on
            store = await opened(shop)
            asked = shop.sandbox.requests
            await store.write_birthday(one, Birthday(5, 17))
            await store.write_birthday(other, Birthday(5, 18))
            assert shop.sandbox.requests == asked + 1 + 1 + 2, "a token, the definition once, and the dates"
        assert shop.sandbox.views.definitions == {"facts.birth_date": True}
        own = await opened(shop, birthday_key="loyalty.born_on")
        shop.sandbox.views.definitions.clear()
        await own.write_birthday(one, Birthday(5, 17))
        assert shop.sandbox.views.definitions == {}, "the merchant's own field has the merchant's definition"


async def test_a_definition_that_cannot_be_pinned_keeps_no_birthday_from_being_written() -> None:
    async with a_shop(FEW) as shop:
        shop.sandbox.views.may_pin = False
        store = await opened(shop)
        number = next(iter(shop.sandbox.customers))
        await store.write_birthday(number, Birthday(5, 17, 1990))
        assert shop.sandbox.views.metafields[number, "facts.birth_date"] == "1990-05-17"


async def test_a_birthday_of_somebody_who_is_gone_is_refused() -> None:
    async with a_shop(FEW) as shop:
        with pytest.raises(RefusedError, match="Owner"):
            await (await opened(shop)).write_birthday("999", Birthday(5, 17))


async def test_a_wrong_setting_is_told_to_the_merchant() -> None:
    async with a_shop(replace(FEW, orders=5)) as shop:
        facts = await (await opened(shop, accounts="vip")).facts()
        assert any("accounts" in notice and "tag:" in notice for notice in facts.notices)


async def test_posts_bring_the_birthday_from_the_metafield_that_is_read_now() -> None:
    async with a_shop(FEW) as shop:
        address = "http://127.0.0.1:9/webhooks/shopify/token"
        store, desk = await opened(shop), shop.sandbox.hook_desk
        await store.subscribe(address, Secret("x"))
        assert await store.is_subscribed(address)
        settings = {"birthday_key": "loyalty.born_on"}
        store = await opened(shop, **settings)
        assert not await store.is_subscribed(address), "the daily look sets it up again"
        await store.subscribe(address, Secret("x"))
        assert await store.is_subscribed(address)
        number, person = next(iter(shop.sandbox.customers.items()))
        await store.write_birthday(number, Birthday(5, 17, 1990))
        desk.emit(
            "customers/update",
            lambda with_it: shop.sandbox.bodies.customer_body(person, with_birthday=with_it),
        )
        body = shop.sandbox.hooks.sent[-1].body
        delivery = RawDelivery({"x-shopify-topic": "customers/update"}, body, "")
        [change] = CONNECTOR.webhooks.parse(delivery, StoreOptions("EUR", "UTC", settings))
        assert isinstance(change, CustomerSaved)
        assert change.customer.birthday == Birthday(5, 17, 1990)
        fields = json.loads(body)["metafields"]
        assert [(field["namespace"], field["key"]) for field in fields] == [("loyalty", "born_on")]
