"""The Shopify store against its stand-in: installing, exports, codes, webhooks and the cost bucket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from connectors.base import Noun, Page, Secret, StoreAccess, StoreOptions, Window
from connectors.shopify import CONNECTOR
from connectors.shopify.failures import GraphqlError, GraphqlErrorDetails, error_for_graphql, error_for_status
from connectors.shopify.store import ShopifyStore
from connectors.shopify.subscriptions import api_topics
from rewards.changes import CouponSaved
from rewards.errors import AccessRevokedError, InvalidInputError, PlatformError, RefusedError, RetryLaterError
from rewards.records import Benefit, BenefitKind, CodeDraft, Coupon, KnownCode, PushedCode
from sandbox.server import CheckoutRefused
from sandbox.shopify import ADMIN_TOKEN, ShopifySandbox
from sandbox.shopify_bulk import Operation
from sandbox.world import Seed, World

SEED = Seed(number=8, customers=40, orders=4_300)
ADDRESS = "http://127.0.0.1:9/webhooks/shopify/token"


@dataclass
class Shop:
    sandbox: ShopifySandbox
    session: aiohttp.ClientSession
    store: ShopifyStore
    access: StoreAccess

    def reopened(self, **settings: str) -> ShopifyStore:
        options = replace(self.access.options, settings=settings)
        return ShopifyStore(replace(self.access, options=options), self.session)

    async def orders(self) -> Window:
        """All orders as one export, however few there are."""
        return Window(Noun.ORDERS, {"search": ""})


@contextlib.asynccontextmanager
async def open_shop(seed: Seed = SEED) -> AsyncIterator[Shop]:
    sandbox = ShopifySandbox(World(seed))
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as session:
            installed = await CONNECTOR.install.installation(sandbox.connect_answers(), session)
            options = StoreOptions(seed.currency, seed.time_zone)
            access = StoreAccess(installed.external_id, installed.credentials, options, installed.api_base)
            yield Shop(sandbox, session, ShopifyStore(access, session), access)
    finally:
        await sandbox.stop()


SMALL = replace(SEED, orders=30)
PERCENT = Benefit(BenefitKind.PERCENTAGE, basis_points=1_500)


def draft(customer: str | None, code: str = "BDAY-7F3K9Q2M", benefit: Benefit = PERCENT) -> CodeDraft:
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    return CodeDraft(
        code, f"grant-{code}", "reward-1", "Birthday", benefit, now, now + timedelta(days=30), customer, None
    )


def known(pushed: PushedCode) -> KnownCode:
    return KnownCode(pushed.code, pushed.external_id, pushed.coupon_external_id)


def customers(shop: Shop) -> list[str]:
    return list(shop.sandbox.customers)


async def rest(store: ShopifyStore, window: Window, after: Mapping[str, object] | None) -> list[Page]:
    return [page async for page in store.read(window, after)]


async def read_into(
    seen: list[Page], store: ShopifyStore, window: Window, after: Mapping[str, object] | None
) -> None:
    """Like `rest`, but what came before an error is kept."""
    async for page in store.read(window, after):
        seen.append(page)


# -- installing and access -------------------------------------------------------------------------------------------


async def test_an_installation_keeps_id_and_secret_and_trusts_the_secrets_webhooks() -> None:
    async with open_shop(SMALL) as shop:
        answers = shop.sandbox.connect_answers() | {"shop": f"https://{shop.sandbox.shop}/admin"}
        installed = await CONNECTOR.install.installation(answers, shop.session)
        assert installed.external_id == shop.sandbox.shop
        assert set(installed.credentials) == {"client_id", "client_secret"}
        assert [secret.reveal() for secret in installed.webhook_secrets] == [shop.sandbox.client_secret]


async def test_a_token_of_an_admin_made_app_opens_the_shop_too() -> None:
    async with open_shop(SMALL) as shop:
        answers = shop.sandbox.connect_answers() | {"client-id": "", "token": ADMIN_TOKEN}
        installed = await CONNECTOR.install.installation(answers, shop.session)
        assert set(installed.credentials) == {"token", "client_secret"}
        with pytest.raises(AccessRevokedError):
            await CONNECTOR.install.installation(answers | {"token": "shpat_wrong"}, shop.session)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shop": "not a shop"},
        {"shop": "another-shop"},
        {"client-secret": ""},
        {"client-id": ""},
        {"token": "shpat_beside_a_client_id"},
    ],
)
async def test_answers_that_do_not_fit_are_told(wrong: dict[str, str]) -> None:
    async with open_shop(SMALL) as shop:
        with pytest.raises(InvalidInputError):
            await CONNECTOR.install.installation(shop.sandbox.connect_answers() | wrong, shop.session)


async def test_a_wrong_client_secret_is_no_access() -> None:
    async with open_shop(SMALL) as shop:
        answers = shop.sandbox.connect_answers() | {"client-secret": "shpss_wrong"}
        with pytest.raises(AccessRevokedError, match="client id and secret"):
            await CONNECTOR.install.installation(answers, shop.session)


async def test_a_token_that_ended_is_renewed_once_in_the_middle_of_work() -> None:
    async with open_shop() as shop:
        pages = shop.store.read(await shop.orders(), None)
        first = await anext(pages)
        assert first.cursor is not None
        shop.sandbox.expire_tokens()
        assert sum([len(page.changes) async for page in pages]) == SEED.orders


async def test_a_token_that_cannot_be_renewed_is_access_revoked() -> None:
    async with open_shop(SMALL) as shop:
        credentials = {"token": Secret("shpat_old"), "client_secret": Secret("x")}
        store = ShopifyStore(replace(shop.access, credentials=credentials), shop.session)
        before = shop.sandbox.requests
        with pytest.raises(AccessRevokedError):
            await store.facts()
        assert shop.sandbox.requests == before + 1


# -- exports ---------------------------------------------------------------------------------------------------------


async def test_an_export_is_taken_up_where_its_cursor_says_without_starting_another() -> None:
    async with open_shop() as shop:
        window = await shop.orders()
        pages = await rest(shop.store, window, None)
        assert [len(page.changes) > 0 for page in pages[:2]] == [False, True]
        assert all(1_900 < len(page.changes) < 2_600 for page in pages[1:-1])
        for place, page in enumerate(pages[:-1]):
            later = await rest(shop.reopened(), window, page.cursor)
            changes = [change for each in later for change in each.changes]
            assert changes == [change for each in pages[place + 1 :] for change in each.changes]
        assert len(shop.sandbox.bulk.operations) == 1


async def test_an_export_whose_file_is_gone_is_made_again() -> None:
    async with open_shop() as shop:
        window = await shop.orders()
        pages = await rest(shop.store, window, None)
        shop.sandbox.bulk.operations.clear()
        again = await rest(shop.store, window, pages[1].cursor)
        assert sum(len(page.changes) for page in again) == SEED.orders
        assert again[0].cursor is not None
        assert again[0].cursor["operation"] != pages[0].cursor["operation"]  # type: ignore[index]


async def test_a_file_cut_in_the_middle_of_a_line_is_taken_up_at_the_last_stored_line(tmp_path: Path) -> None:
    async with open_shop() as shop:
        window = await shop.orders()
        whole = await rest(shop.store, window, None)
        [operation] = shop.sandbox.bulk.operations.values()
        assert operation.path is not None
        path, content = operation.path, operation.path.read_bytes()
        operation.path = tmp_path / "cut.jsonl"
        operation.path.write_bytes(content[: len(content) * 3 // 4 + 7])
        seen: list[Page] = []
        with pytest.raises(RetryLaterError):
            await read_into(seen, shop.store, window, whole[0].cursor)
        assert seen
        operation.path = path
        seen += await rest(shop.store, window, seen[-1].cursor)
        changes = [change for page in seen for change in page.changes]
        assert changes == [change for page in whole for change in page.changes]
        assert len(shop.sandbox.bulk.operations) == 1


async def test_an_export_that_fails_is_for_later_and_then_made_again() -> None:
    async with open_shop() as shop:
        window = await shop.orders()
        pages = shop.store.read(window, None)
        cursor = (await anext(pages)).cursor
        [operation] = shop.sandbox.bulk.operations.values()
        operation.status = "FAILED"
        with pytest.raises(RetryLaterError):
            await anext(pages)
        assert sum(len(page.changes) for page in await rest(shop.store, window, cursor)) == SEED.orders


async def test_an_export_without_permission_names_it() -> None:
    async with open_shop() as shop:
        pages = shop.store.read(await shop.orders(), None)
        for _ in range(2):  # with what names people, then without
            await anext(pages)
            *_, operation = shop.sandbox.bulk.operations.values()
            operation.status, operation.error_code = "FAILED", "ACCESS_DENIED"
        with pytest.raises(RefusedError, match="permission"):
            await anext(pages)


async def test_a_sixth_export_waits() -> None:
    async with open_shop(SMALL) as shop:
        for number in range(5):
            operation = Operation(number, "{ shop { id } }", datetime.now(UTC), status="RUNNING")
            shop.sandbox.bulk.operations[operation.gid] = operation
        with pytest.raises(RetryLaterError) as caught:
            await rest(shop.store, await shop.orders(), None)
        assert caught.value.retry_after_seconds


async def test_an_empty_export_has_no_file() -> None:
    async with open_shop(SMALL) as shop:
        window = Window(Noun.ORDERS, {"search": "updated_at:>='2099-01-01T00:00:00Z'"})
        pages = await rest(shop.store, window, None)
        assert [list(page.changes) for page in pages] == [[], []]
        assert pages[-1].cursor is None


# -- codes -----------------------------------------------------------------------------------------------------------


async def test_every_benefit_works_at_the_checkout_as_it_says() -> None:
    async with open_shop(SMALL) as shop:
        [one, two, three, *_] = customers(shop)
        amount = Benefit(BenefitKind.AMOUNT, amount_minor=1_000, currency="EUR", minimum_minor=3_000)
        drafts = [
            draft(one, "PCT"),
            draft(two, "AMT", amount),
            draft(three, "SHIP", Benefit(BenefitKind.FREE_SHIPPING)),
        ]
        pushed = await shop.store.push(drafts)
        found = await shop.store.find([known(code) for code in pushed])
        for coupon, asked in zip(found, drafts, strict=True):
            assert coupon is not None
            assert replace(coupon.benefit, currency=asked.benefit.currency) == asked.benefit
            assert coupon.customer_external_ids == (asked.customer_external_id,)
            assert (coupon.usage_limit, coupon.starts_at, coupon.ends_at) == (
                1,
                asked.starts_at,
                asked.ends_at,
            )
        with pytest.raises(CheckoutRefused, match="minimum_not_met"):
            shop.sandbox.place_order({"customer": two, "subtotal_minor": 2_999, "code": "amt"})
        for customer, code, off in ((one, "pct", 600), (two, "amt", 1_000), (three, "ship", 495)):
            placed = shop.sandbox.place_order({"customer": customer, "subtotal_minor": 4_000, "code": code})
            assert placed["discount_minor"] == off
        assert shop.sandbox.redemptions == 3


async def test_a_code_that_the_merchant_uses_otherwise_is_refused_not_taken_over() -> None:
    async with open_shop(SMALL) as shop:
        [pushed] = await shop.store.push([draft(customers(shop)[0], "welcome10")])
        assert pushed.refused
        restored = await shop.store.restore(draft(customers(shop)[0], "FREESHIP"), known(pushed))
        assert restored.refused
        assert shop.sandbox.codes_in_store() == 0


async def test_a_shop_that_is_full_refuses_a_code_and_says_what_to_do() -> None:
    async with open_shop(SMALL) as shop:
        shop.sandbox.discounts.most_codes = 0
        [pushed] = await shop.store.push([draft(next(iter(shop.sandbox.customers)))])
        assert pushed.external_id is None
        assert "delete discounts that are over" in str(pushed.refused)


async def test_a_code_for_a_customer_who_is_gone_is_refused_with_shopifys_reason() -> None:
    async with open_shop(SMALL) as shop:
        good, bad = await shop.store.push([draft(customers(shop)[0], "A"), draft("999", "B")])
        assert good.refused is None
        assert "Customer not found" in (bad.refused or "")


async def test_a_code_edited_behind_our_back_is_made_whole() -> None:
    async with open_shop(SMALL) as shop:
        owner, other = customers(shop)[:2]
        asked = draft(owner)
        code = known((await shop.store.push([asked]))[0])
        before = (await shop.store.find([code]))[0]
        edited = shop.sandbox.discounts.by_code(asked.code)
        assert edited is not None
        edited.percentage, edited.customers, edited.minimum_minor, edited.usage_limit = (
            0.9,
            [other],
            900,
            None,
        )
        assert await shop.store.restore(asked, code) == PushedCode(asked.code, external_id=code.external_id)
        after = (await shop.store.find([code]))[0]
        assert isinstance(before, Coupon)
        assert isinstance(after, Coupon)
        assert replace(after, source_updated_at=None) == replace(before, source_updated_at=None)


async def test_a_deleted_code_is_found_under_its_text_once_it_is_made_anew() -> None:
    async with open_shop(SMALL) as shop:
        asked = draft(customers(shop)[0])
        old = known((await shop.store.push([asked]))[0])
        shop.sandbox.discounts.delete(int(old.external_id or 0))
        assert await shop.store.find([old]) == [None]
        await shop.store.revoke(old)
        new = await shop.store.restore(asked, old)
        assert new.external_id != old.external_id
        [found] = await shop.store.find([old])
        assert found is not None
        assert found.external_id == new.external_id


async def test_discounts_are_paged_to_the_end_and_changes_alone_on_request() -> None:
    async with open_shop(replace(SEED, customers=130, orders=5)) as shop:
        shop.sandbox.limiter_on = False
        drafts = [draft(customer, f"CODE-{customer}") for customer in customers(shop)]
        await shop.store.push(drafts[:50])
        await shop.store.push(drafts[50:])
        [window] = await shop.store.windows(Noun.COUPONS, None)
        pages = await rest(shop.store, window, None)
        assert len(pages) == 3
        codes = [c.coupon.code for page in pages for c in page.changes if isinstance(c, CouponSaved)]
        assert len(codes) == len(set(codes)) == 134
        assert {"WELCOME10", "SPRING5", "FREESHIP", "TWOFORONE"} < set(codes)
        [recent] = await shop.store.windows(Noun.COUPONS, datetime.now(UTC) - timedelta(hours=1))
        assert sum(len(page.changes) for page in await rest(shop.store, recent, None)) == 130


# -- pace ------------------------------------------------------------------------------------------------------------


async def test_a_nearly_empty_bucket_slows_down_without_a_refusal() -> None:
    async with open_shop(SMALL) as shop:
        await shop.store.facts()
        await shop.store.push([draft(customers(shop)[0], "FIRST")])
        shop.sandbox.bucket.per_second = 400.0
        shop.sandbox.bucket.take(shop.sandbox.bucket.level - 30)
        await shop.store.facts()
        pushed = await shop.store.push([draft(customers(shop)[0], f"C{n}") for n in range(30)])
        assert [code.refused for code in pushed] == [None] * 30
        assert shop.sandbox.bucket.refused == 0


async def test_a_throttled_call_without_patience_says_when_to_come_back() -> None:
    async with open_shop(SMALL) as shop:
        shop.sandbox.bucket.take(shop.sandbox.bucket.level)
        shop.sandbox.bucket.per_second = 1.0
        with pytest.raises(RetryLaterError) as caught:
            await shop.reopened(patience_seconds="0").push([draft(customers(shop)[0])])
        assert caught.value.retry_after_seconds
        assert caught.value.retry_after_seconds > 1
        assert shop.sandbox.codes_in_store() == 0


# -- webhooks --------------------------------------------------------------------------------------------------------


async def test_subscribing_again_changes_nothing_and_mends_what_is_missing() -> None:
    async with open_shop(SMALL) as shop:
        first = await shop.store.subscribe(ADDRESS, Secret("a proposal"))
        assert len(first.external_ids) == len(api_topics({}))
        assert first.secret.reveal() == shop.sandbox.client_secret
        assert set((await shop.store.subscribe(ADDRESS, Secret("x"))).external_ids) == set(first.external_ids)
        desk = shop.sandbox.hook_desk
        desk.delete(first.external_ids[0])
        foreign, _ = desk.create("ORDERS_FULFILLED", {"uri": ADDRESS})
        elsewhere, _ = desk.create("ORDERS_PAID", {"uri": "https://old.example/hooks"})
        assert foreign is not None
        assert elsewhere is not None
        again = await shop.store.subscribe(ADDRESS, Secret("x"))
        assert len(again.external_ids) == len(api_topics({}))
        left = {node["id"] for node in desk.page(first=100, after=None)["nodes"]}
        assert left == {*again.external_ids, elsewhere.gid}
        await shop.store.unsubscribe(ADDRESS)
        await shop.store.unsubscribe(ADDRESS)
        assert [node["id"] for node in desk.page(first=100, after=None)["nodes"]] == [elsewhere.gid]


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (401, AccessRevokedError, "connect the store again"),
        (402, AccessRevokedError, "frozen"),
        (403, AccessRevokedError, "forbids"),
        (423, AccessRevokedError, "locked"),
        (404, RefusedError, "domain"),
        (422, RefusedError, "422"),
        (429, RetryLaterError, "slow down"),
        (500, RetryLaterError, "500"),
        (503, RetryLaterError, "503"),
    ],
)
def test_a_status_says_what_to_do(status: int, kind: type[PlatformError], word: str) -> None:
    error = error_for_status(status, {"Retry-After": "2.0"})
    assert type(error) is kind or isinstance(error, kind)
    assert word in str(error)
    assert getattr(error, "retry_after_seconds", None) == (2.0 if status == 429 else None)


def test_a_missing_permission_is_named() -> None:
    message = "Access denied for orders field. Required access: `read_orders` access scope."
    for error in (
        GraphqlError(message, GraphqlErrorDetails("ACCESS_DENIED")),
        GraphqlError("Access denied", GraphqlErrorDetails("ACCESS_DENIED", "`read_orders` access scope.")),
    ):
        told = error_for_graphql([error])
        assert isinstance(told, RefusedError)
        assert "`read_orders`" in str(told)
