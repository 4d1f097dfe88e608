"""History and codes of a shop, in what only WooCommerce does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base import Noun, Window
from connectors.woocommerce.store import WooCommerceStore
from rewards.changes import CouponSaved, Ignored, OrderSaved
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import Benefit, BenefitKind, CodeDraft, KnownCode
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import KEYS, answering, standing
from tests.connectors.woocommerce.test_mapping import COUPON, ORDER

SEED = Seed(number=8, customers=20, orders=1_000)
SMALL = Seed(number=8, customers=20, orders=12)
ENDS = datetime(2099, 1, 31, 22, 59, 59, tzinfo=UTC)
DRAFT = CodeDraft(
    code="BDAY-AB12",
    idempotency_key="grant-1",
    reward_key="reward-1",
    title="Birthday",
    benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=1250),
    starts_at=datetime(2026, 1, 1, tzinfo=UTC),
    ends_at=ENDS,
    customer_external_id="4",
    email="Clara@ejemplo.example",
)


async def read_ids(store: WooCommerceStore, window: Window) -> list[str]:
    return [
        change.order.external_id
        async for page in store.read(window, None)
        for change in page.changes
        if isinstance(change, OrderSaved)
    ]


async def test_windows_cover_every_page_and_the_last_has_no_end() -> None:
    async with standing(SEED) as (sandbox, store):
        windows = await store.windows(Noun.ORDERS, None)
        assert len(windows) >= 8
        assert windows[-1].spec["to"] is None
        late = sandbox.place_order({"email": "late@people.example", "subtotal_minor": 100})
        assert str(late["order"]) in await read_ids(store, windows[-1])


@pytest.mark.parametrize("orders", [1, 100, 101, 799, 1_701])
async def test_windows_of_a_shop_at_rest_hold_every_order_once(orders: int) -> None:
    async with standing(replace(SEED, orders=orders)) as (_, store):
        windows = await store.windows(Noun.ORDERS, None)
        seen = [number for window in windows for number in await read_ids(store, window)]
    assert seen == [str(1_001 + number) for number in range(orders)]


async def test_an_empty_shop_has_no_windows() -> None:
    async with standing(Seed(customers=0, orders=0)) as (_, store):
        assert await store.windows(Noun.ORDERS, None) == []
        assert await store.windows(Noun.CUSTOMERS, None) == []


async def test_an_order_that_slips_to_an_earlier_page_while_we_read_is_not_missed() -> None:
    async with standing(SEED) as (sandbox, store):
        window = Window(Noun.ORDERS, {"from": 1, "to": None, "total": 1_000, "filter": {}})
        seen: set[str] = set()
        async for page in store.read(window, None):
            seen |= {c.order.external_id for c in page.changes if isinstance(c, OrderSaved)}
            if len(seen) == 300:  # three orders of the pages read so far go to the trash: the rest moves up
                for number in ("1001", "1002", "1003"):
                    sandbox.trash_order(number)
        assert {str(1_001 + number) for number in range(1_000)} <= seen


async def test_an_order_that_slips_over_a_windows_edge_is_not_missed() -> None:
    async with standing(SEED) as (sandbox, store):
        windows = await store.windows(Noun.ORDERS, None)
        seen = set(await read_ids(store, windows[0]))
        for number in ("1001", "1002"):
            sandbox.trash_order(number)
        for window in windows[1:]:
            seen |= set(await read_ids(store, window))
        assert {str(1_001 + number) for number in range(1_000)} <= seen


async def test_changed_orders_overlap_by_a_second() -> None:
    async with standing(SMALL) as (sandbox, store):
        sale = sandbox.world.sales[5]
        for window in await store.windows(Noun.ORDERS, sale.updated_at):
            assert str(1_006) in await read_ids(store, window)
        since = max(sale.updated_at for sale in sandbox.world.sales) + timedelta(seconds=2)
        assert await store.windows(Noun.ORDERS, since) == []


async def test_only_the_fields_in_use_are_asked_for() -> None:
    async with answering((200, [])) as (store, requests):
        await read_ids(store, Window(Noun.ORDERS, {"from": 1, "to": None, "total": -1, "filter": {}}))
    asked = requests[0].query
    assert {"id", "billing.email", "line_items", "refunds"} <= set(asked["_fields"].split(","))
    assert (asked["per_page"], asked["orderby"], asked["order"], asked["page"]) == ("100", "id", "asc", "1")


async def test_a_host_that_strips_the_counting_headers_is_read_all_the_same() -> None:
    async with answering((200, [{"id": 1}]), (200, [{**ORDER, "id": 7}])) as (store, _):
        windows = await store.windows(Noun.ORDERS, None)
        assert len(windows) == 1
        assert await read_ids(store, windows[0]) == ["7"]


async def test_a_record_bent_by_a_plugin_does_not_spoil_its_page() -> None:
    bent: list[dict[str, Any]] = [
        {**ORDER, "total": "gratis"},
        {**ORDER, "id": "x"},
        {**ORDER, "date_created_gmt": 5},
    ]
    async with answering((200, [ORDER, *bent, {**ORDER, "id": 9}])) as (store, _):
        window = Window(Noun.ORDERS, {"from": 1, "to": None, "total": -1, "filter": {}})
        changes = [change async for page in store.read(window, None) for change in page.changes]
    assert [type(change) for change in changes] == [OrderSaved, Ignored, Ignored, Ignored, OrderSaved]


async def test_coupons_of_the_shop_are_read() -> None:
    async with standing(SMALL) as (_, store):
        (window,) = await store.windows(Noun.COUPONS, None)
        changes = [change async for page in store.read(window, None) for change in page.changes]
    coupons = [change.coupon for change in changes if isinstance(change, CouponSaved)]
    assert [coupon.code for coupon in coupons] == ["bienvenida10", "envio-gratis", "verano5"]
    # A date alone is the beginning of that day in the shop.
    assert coupons[2].ends_at == datetime(2020, 8, 30, 22, tzinfo=UTC)


async def test_a_code_is_bound_to_its_email_dated_in_local_time_and_used_once() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        shown = sandbox.coupons.json(sandbox.coupons.by_code["bday-ab12"])
    assert pushed.external_id == str(shown["id"])
    assert shown["email_restrictions"] == ["clara@ejemplo.example"]
    assert shown["date_expires"] == "2099-01-31T23:59:59"
    assert (shown["amount"], shown["discount_type"]) == ("12.50", "percent")
    assert (shown["usage_limit"], shown["individual_use"]) == (1, False)
    assert [entry["value"] for entry in shown["meta_data"]] == ["grant-1"]


@pytest.mark.parametrize(
    ("benefit", "kind", "amount", "free_shipping"),
    [
        (Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR"), "fixed_cart", "5.00", False),
        (Benefit(BenefitKind.FREE_SHIPPING), "fixed_cart", "0.00", True),
        (
            Benefit(BenefitKind.PERCENTAGE, basis_points=10_000, minimum_minor=2000),
            "percent",
            "100.00",
            False,
        ),
    ],
)
async def test_benefits(benefit: Benefit, kind: str, amount: str, free_shipping: bool) -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([replace(DRAFT, benefit=benefit)])
        assert pushed.refused is None
        shown = sandbox.coupons.json(sandbox.coupons.by_code["bday-ab12"])
    assert (shown["discount_type"], shown["amount"], shown["free_shipping"]) == (kind, amount, free_shipping)
    assert shown["minimum_amount"] == ("20.00" if benefit.minimum_minor else "0.00")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"email": None}, "e-mail"),
        ({"email": "no-es-email"}, "e-mail"),  # the shop takes it in silence and forgets the restriction
        ({"benefit": Benefit(BenefitKind.OTHER)}, "kind"),
        ({"benefit": Benefit(BenefitKind.AMOUNT, amount_minor=5, currency="USD")}, "currency"),
        ({"benefit": Benefit(BenefitKind.PERCENTAGE, basis_points=10_100)}, "coupon_invalid_amount"),
    ],
)
async def test_a_draft_that_cannot_be_kept_leaves_nothing_behind(changes: dict[str, Any], says: str) -> None:
    async with standing(SMALL) as (sandbox, store):
        good = replace(DRAFT, code="GOOD-1", idempotency_key="grant-2")
        bad, fine = await store.push([replace(DRAFT, **changes), good])
        assert bad.refused
        assert says in bad.refused
        assert fine.refused is None
        assert list(sandbox.coupons.by_code)[3:] == ["good-1"]


async def test_a_coupon_that_comes_back_otherwise_than_asked_is_removed_and_reported() -> None:
    """As a plugin would do it: the answer shows another amount and no date."""
    bent = {**COUPON, "code": "bday-ab12", "amount": "0.00", "date_expires_gmt": None}
    async with answering((200, {"create": [bent]}), (200, bent)) as (store, requests):
        (pushed,) = await store.push([DRAFT])
    assert pushed.refused
    assert "amount" in pushed.refused
    assert "expiry" in pushed.refused
    assert (requests[1].method, requests[1].query["force"]) == ("DELETE", "true")


async def test_a_code_that_somebody_else_has_is_refused_and_left_alone() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([replace(DRAFT, code="Verano5")])
        assert pushed.refused
        assert "another coupon" in pushed.refused
        assert "verano5" in sandbox.coupons.by_code


async def test_a_batch_answered_in_part_is_for_later() -> None:
    async with answering((200, {"create": []})) as (store, _):
        with pytest.raises(RetryLaterError):
            await store.push([DRAFT])


async def test_a_hundred_codes_are_one_call_and_are_found_with_one() -> None:
    async with standing(SMALL) as (sandbox, store):
        drafts = [replace(DRAFT, code=f"C-{number}", idempotency_key=f"g-{number}") for number in range(100)]
        before = sandbox.requests
        pushed = await store.push(drafts)
        assert sandbox.requests == before + 1
        found = await store.find([KnownCode(code.code, code.external_id, None) for code in pushed])
        assert sandbox.requests == before + 2
        assert [coupon and coupon.code for coupon in found] == [draft.code.lower() for draft in drafts]


async def test_a_code_without_an_id_is_found_by_its_text_and_the_trash_counts_as_gone() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        by_text = KnownCode("BDAY-ab12", None, None)
        (found,) = await store.find([by_text])
        assert found is not None
        assert found.external_id == pushed.external_id
        sandbox.coupons.delete(int(found.external_id), force=False)
        assert list(await store.find([by_text, KnownCode(pushed.code, pushed.external_id, None)])) == [
            None,
            None,
        ]


@pytest.mark.parametrize("has_id", [True, False])
async def test_a_revoked_code_is_a_draft(has_id: bool) -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        await store.revoke(KnownCode(pushed.code, pushed.external_id if has_id else None, None))
        assert sandbox.coupons.by_code["bday-ab12"].fields["status"] == "draft"


async def test_an_older_shop_that_keeps_the_status_lets_the_code_expire() -> None:
    kept = {**COUPON, "status": "publish"}
    async with answering((200, kept), (200, {**kept, "date_expires_gmt": "1999-12-31T23:00:00"})) as (
        store,
        seen,
    ):
        await store.revoke(KnownCode("abc-percent10", "2209", None))
    assert [request.method for request in seen] == ["PUT", "PUT"]


async def test_a_shop_that_will_not_switch_a_code_off_is_said() -> None:
    async with answering((200, {**COUPON, "status": "publish"})) as (store, _):
        with pytest.raises(RefusedError, match="by hand"):
            await store.revoke(KnownCode("abc-percent10", "2209", None))


@pytest.mark.parametrize("external_id", ["999999", None])
async def test_revoking_what_is_gone_is_fine(external_id: str | None) -> None:
    async with standing(SMALL) as (_, store):
        await store.revoke(KnownCode("GONE", external_id, None))


@pytest.mark.parametrize("what", ["edited", "trashed", "deleted", "drafted", "renamed"])
async def test_restoring_mends_whatever_became_of_the_code(what: str) -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        assert pushed.external_id
        number, now = int(pushed.external_id), sandbox.now()
        if what == "edited":
            body = {
                "amount": "90",
                "email_restrictions": [],
                "usage_limit": None,
                "date_expires": "",
                "product_ids": [1],
            }
            sandbox.coupons.update(number, body, now)
        elif what == "drafted":
            sandbox.coupons.update(number, {"status": "draft"}, now)
        elif what == "renamed":
            sandbox.coupons.update(number, {"code": "other"}, now)
        else:
            sandbox.coupons.delete(number, force=what == "deleted")
        restored = await store.restore(DRAFT, KnownCode(pushed.code, pushed.external_id, None))
        assert restored.refused is None
        shown = sandbox.coupons.json(sandbox.coupons.by_code["bday-ab12"])
        assert (shown["amount"], shown["usage_limit"], shown["product_ids"]) == ("12.50", 1, [])
        assert shown["email_restrictions"] == ["clara@ejemplo.example"]
        assert shown["status"] == "publish"
        assert sandbox.codes_in_store() == 1


async def test_subscribing_answers_the_pings_and_replaces_only_what_was_ours() -> None:
    async with standing(SMALL) as (sandbox, store):
        await sandbox.queue.create({"topic": "order.created", "delivery_url": "http://127.0.0.1:9/theirs"})
        address = f"{sandbox.url}/_sandbox/quiet"  # any address that answers
        first = await store.subscribe(address, KEYS["secret"])
        second = await store.subscribe(address, KEYS["secret"])
        ours = [hook for hook in sandbox.queue.webhooks.values() if hook.address == address]
        assert len(ours) == len(second.external_ids) == 11
        assert {str(hook.id) for hook in ours} == set(second.external_ids)
        assert not set(first.external_ids) & set(second.external_ids)
        assert all(hook.was_pinged for hook in ours)
        await store.unsubscribe(address)
        assert [hook.address for hook in sandbox.queue.webhooks.values()] == ["http://127.0.0.1:9/theirs"]
