"""Personal codes as coupons of a shop, in what only WooCommerce does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.woocommerce import CONNECTOR
from connectors.woocommerce.coupon_mapping import unfit
from rewards.differences import code_difference, same_benefit
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, KnownCode
from sandbox.server import CheckoutRefused
from sandbox.world import Seed
from tests.connectors.woocommerce.shop import OPTIONS, answering, standing
from tests.connectors.woocommerce.test_mapping import COUPON

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


async def test_a_shop_that_has_coupons_switched_off_is_said() -> None:
    async with standing(SMALL) as (sandbox, store):
        assert (await store.facts()).notices == ()
        sandbox.enables_coupons = False
        (notice,) = (await store.facts()).notices
        assert "Enable coupons" in notice
        await store.push([DRAFT])
        with pytest.raises(CheckoutRefused, match="unknown_code"):
            sandbox.place_order({**SHOPPER, "subtotal_minor": 1_000})


async def test_a_code_is_bound_to_its_email_dated_in_local_time_and_used_once() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        shown = sandbox.coupons.json(sandbox.coupons.by_code["bday-ab12"])
    assert pushed.external_id == str(shown["id"])
    assert shown["email_restrictions"] == ["clara@ejemplo.example"]
    assert shown["date_expires"] == "2099-01-31T23:59:59"
    assert (shown["amount"], shown["discount_type"]) == ("12.50", "percent")
    assert (shown["usage_limit"], shown["usage_limit_per_user"], shown["individual_use"]) == (1, 1, True)
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
    async with answering((200, {"create": [bent]}), (200, {"delete": [bent]})) as (store, requests):
        (pushed,) = await store.push([DRAFT])
    assert pushed.refused
    assert "amount" in pushed.refused
    assert "expiry" in pushed.refused
    assert "removed" in pushed.refused
    assert (requests[1].method, requests[1].path) == ("POST", "/wp-json/wc/v3/coupons/batch")


async def test_a_bent_coupon_that_the_shop_will_not_remove_is_left_to_the_merchant() -> None:
    bent = {**COUPON, "code": "bday-ab12", "email_restrictions": []}
    kept = {"id": COUPON["id"], "error": {"code": "woocommerce_rest_cannot_delete"}}
    async with answering((200, {"create": [bent]}), (200, {"delete": [kept]})) as (store, _):
        (pushed,) = await store.push([DRAFT])
    assert pushed.refused
    assert "by hand" in pushed.refused


PLUGINS: dict[str, Callable[[dict[str, Any]], None]] = {
    "e-mail": lambda fields: fields.update(email_restrictions=[]),
    "number of uses": lambda fields: fields.update(usage_limit=None),
    "minimum": lambda fields: fields.update(minimum_amount="1.00"),
    "maximum": lambda fields: fields.update(maximum_amount="1.00"),
    "products": lambda fields: fields.update(product_ids=[10]),
    "categories": lambda fields: fields.update(product_categories=[15]),
    "exclusions": lambda fields: fields.update(exclude_sale_items=True),
    "free shipping": lambda fields: fields.update(free_shipping=True),
    "use beside other coupons": lambda fields: fields.update(individual_use=False),
    "number of units": lambda fields: fields.update(limit_usage_to_x_items=1),
    "reference to the reward": lambda fields: fields.update(meta_data=[]),
    "amount": lambda fields: fields.update(amount="13.00"),
    "status": lambda fields: fields.update(status="pending"),
}


@pytest.mark.parametrize("what", PLUGINS)
async def test_whatever_a_plugin_makes_of_a_new_coupon_is_noticed(what: str) -> None:
    async with standing(SMALL) as (sandbox, store):
        sandbox.coupons.plugin = PLUGINS[what]
        (pushed,) = await store.push([DRAFT])
        assert pushed.refused
        assert f"changed its {what};" in pushed.refused
        assert sandbox.codes_in_store() == 0
        assert len(sandbox.coupons.by_id) == 3  # the shop's own


async def test_a_shop_whose_plugin_shows_more_decimals_keeps_its_codes() -> None:
    async with standing(SMALL) as (sandbox, store):
        sandbox.coupons.plugin = lambda fields: fields.update(amount=f"{fields['amount']}00")
        (pushed,) = await store.push([DRAFT])
        assert pushed.refused is None


async def test_of_a_hundred_three_are_refused_and_the_rest_stand() -> None:
    async with standing(SMALL) as (sandbox, store):
        drafts = [replace(DRAFT, code=f"C-{n}", idempotency_key=f"g-{n}") for n in range(100)]
        drafts[7] = replace(drafts[7], code="Verano5")  # the shop has one of its own
        drafts[50] = replace(drafts[50], email="no-es-email")  # taken in silence, without the restriction
        drafts[99] = replace(drafts[99], benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=15_000))
        before = sandbox.requests
        pushed = await store.push(drafts)
        # The batch, a look at the code that is taken, and one call that removes what is not as asked.
        assert sandbox.requests == before + 3
        assert [n for n, one in enumerate(pushed) if one.refused] == [7, 50, 99]
        assert [one.code for one in pushed] == [draft.code for draft in drafts]
        assert sandbox.codes_in_store() == 97
        again = await store.push(drafts)
        assert [one.external_id for one in again] == [one.external_id for one in pushed]


async def test_ten_thousand_codes_are_at_most_110_calls() -> None:
    async with standing(SMALL) as (sandbox, store):
        drafts = [replace(DRAFT, code=f"C-{n}", idempotency_key=f"g-{n}") for n in range(10_000)]
        size, before = CONNECTOR.push_size, sandbox.requests
        for start in range(0, len(drafts), size):
            assert not any(one.refused for one in await store.push(drafts[start : start + size]))
        assert sandbox.codes_in_store() == 10_000
        assert sandbox.requests - before <= 110


async def test_a_code_pushed_again_after_somebody_edited_it_is_mended_and_not_made_twice() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        assert pushed.external_id
        sandbox.coupons.update(int(pushed.external_id), {"email_restrictions": []}, sandbox.now())
        assert await store.push([DRAFT]) == [pushed]
        assert sandbox.coupons.by_code["bday-ab12"].fields["email_restrictions"] == ["clara@ejemplo.example"]


async def test_an_open_code_asks_for_no_email_and_works_once() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([replace(DRAFT, email=None, binding=Binding.OPEN)])
        assert pushed.refused is None
        buy = {"email": "anybody@people.example", "subtotal_minor": 1_000, "code": "bday-ab12"}
        assert sandbox.place_order(buy)["discount_minor"] == 125
        with pytest.raises(CheckoutRefused, match="used_up"):
            sandbox.place_order({**buy, "email": "another@people.example"})


async def test_an_email_that_the_shop_takes_for_a_pattern_binds_no_code() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([replace(DRAFT, email="*@people.example")])
        assert pushed.refused
        assert sandbox.codes_in_store() == 0


SHOPPER = {"email": "clara@ejemplo.example", "code": "bday-ab12"}


@pytest.mark.parametrize(
    ("benefit", "lines", "discount_minor"),
    [
        # One pair of socks of two is free, whatever else is in the cart.
        (
            Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("14",)),
            [(14, 15, 500, 2), (20, 16, 900, 1)],
            500,
        ),
        # Of what is chosen the dearest.
        (
            Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("14", "20")),
            [(14, 15, 500, 1), (20, 16, 900, 1)],
            900,
        ),
        (
            Benefit(BenefitKind.PERCENTAGE, basis_points=1000, product_external_ids=("14",)),
            [(14, 15, 500, 2), (20, 16, 900, 1)],
            100,
        ),
        (
            Benefit(BenefitKind.PERCENTAGE, basis_points=1000, collection_external_ids=("16",)),
            [(14, 15, 500, 2), (20, 16, 900, 1)],
            90,
        ),
        # An amount comes off once, not off each unit and not off the rest of the cart.
        (
            Benefit(BenefitKind.AMOUNT, amount_minor=300, currency="EUR", product_external_ids=("14",)),
            [(14, 15, 500, 3)],
            300,
        ),
        (
            Benefit(BenefitKind.AMOUNT, amount_minor=700, currency="EUR", product_external_ids=("14",)),
            [(14, 15, 500, 3), (20, 16, 900, 1)],
            500,
        ),
    ],
)
async def test_a_code_for_some_products_takes_its_discount_off_those(
    benefit: Benefit, lines: list[tuple[int, int, int, int]], discount_minor: int
) -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([replace(DRAFT, benefit=benefit)])
        assert pushed.refused is None
        with pytest.raises(CheckoutRefused, match="wrong_products"):
            sandbox.place_order({**SHOPPER, "lines": [[99, 99, 5_000, 1]]})
        placed = sandbox.place_order({**SHOPPER, "lines": [list(line) for line in lines]})
        assert placed["discount_minor"] == discount_minor
        (found,) = await store.find([KnownCode(pushed.code, pushed.external_id, None)])
        assert found is not None
        assert same_benefit(benefit, found.benefit)
        assert found.benefit.product_external_ids == benefit.product_external_ids
        assert found.benefit.collection_external_ids == benefit.collection_external_ids


async def test_a_code_for_a_product_that_the_shop_does_not_have_is_refused_by_its_number() -> None:
    """The shop takes any number. A variation is in no list, and what is in the trash is found by its number."""

    def on(*numbers: str, categories: tuple[str, ...] = ()) -> Benefit:
        return replace(DRAFT.benefit, product_external_ids=numbers, collection_external_ids=categories)

    benefits = {
        on("14", "22"): None,
        on("23"): None,  # a draft may be published yet
        on("14", "999"): "no product 999;",
        on("24"): "no product 24;",
        on(categories=("16",)): None,
        on("999", categories=("16", "99")): "no product 999, no category 99;",
    }
    drafts = [
        replace(DRAFT, code=f"C{place}", idempotency_key=f"k{place}", benefit=benefit)
        for place, benefit in enumerate(benefits)
    ]
    async with standing(SMALL) as (sandbox, store):
        pushed = await store.push(drafts)
        for told, reason in zip(pushed, benefits.values(), strict=True):
            assert (told.refused is None) is (reason is None)
            assert reason is None or reason in (told.refused or "")
        assert sandbox.codes_in_store() == 3
        requests = sandbox.requests
        assert (await store.push(drafts[:1]))[0].refused is None
        assert sandbox.requests == requests + 2  # the batch and the code that is there: no product again
        assert await store.missing(on("14", "abc", "7" * 19)) == ["product abc", f"product {'7' * 19}"]
        assert (await store.restore(drafts[2], KnownCode("C2", None, None))).refused


@pytest.mark.parametrize("combines", [True, False])
async def test_a_code_combines_with_others_only_where_the_merchant_wants_it(combines: bool) -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([replace(DRAFT, combines=combines)])
        assert sandbox.coupons.by_code["bday-ab12"].fields["individual_use"] is not combines
        (found,) = await store.find([KnownCode(pushed.code, pushed.external_id, None)])
        assert found is not None
        assert found.combines is combines


@pytest.mark.parametrize(
    ("benefit", "says"),
    [
        (Benefit(BenefitKind.FREE_PRODUCT), "number of the product"),
        (Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("gid://x/1",)), "numbers"),
        (Benefit(BenefitKind.PERCENTAGE, basis_points=1000, collection_external_ids=("hats",)), "numbers"),
        (Benefit(BenefitKind.PERCENTAGE, basis_points=1000, first_time_only=True), "first order"),
    ],
)
async def test_a_benefit_that_the_shop_cannot_give_is_refused_before_it_is_asked(
    benefit: Benefit, says: str
) -> None:
    async with standing(SMALL) as (sandbox, store):
        before = sandbox.requests
        (pushed,) = await store.push([replace(DRAFT, benefit=benefit)])
        assert pushed.refused
        assert says in pushed.refused
        assert sandbox.requests == before


async def test_amounts_with_three_decimals_are_kept_where_the_shop_can_show_them() -> None:
    def amount(minor: int) -> CodeDraft:
        return replace(DRAFT, benefit=Benefit(BenefitKind.AMOUNT, amount_minor=minor, currency="BHD"))

    options = replace(OPTIONS, currency="BHD")
    assert unfit(amount(1_250), options) is None
    assert "two decimals" in (unfit(amount(1_255), options) or "")


async def test_our_coupon_with_a_limit_added_by_hand_gives_something_else() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        known = KnownCode(pushed.code, pushed.external_id, None)
        assert pushed.external_id
        sandbox.coupons.update(int(pushed.external_id), {"maximum_amount": "20"}, sandbox.now())
        (found,) = await store.find([known])
        assert "something else" in (code_difference(DRAFT, found) or "")
        assert (await store.restore(DRAFT, known)).refused is None
        (found,) = await store.find([known])
        assert code_difference(DRAFT, found) is None


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
        assert pushed.external_id
        await store.revoke(KnownCode(pushed.code, pushed.external_id if has_id else None, None))
        assert sandbox.coupons.by_id[int(pushed.external_id)].fields["status"] == "draft"
        (found,) = await store.find([KnownCode(pushed.code, pushed.external_id, None)])
        assert found is not None
        assert not found.is_active
        with pytest.raises(CheckoutRefused, match="unknown_code"):
            sandbox.place_order({**SHOPPER, "subtotal_minor": 1_000})


async def test_an_older_shop_that_keeps_the_status_lets_the_code_expire() -> None:
    async with standing(SMALL) as (sandbox, store):
        sandbox.be_older("10.0.2")
        (pushed,) = await store.push([DRAFT])
        await store.revoke(KnownCode(pushed.code, pushed.external_id, None))
        assert sandbox.coupons.by_code["bday-ab12"].fields["status"] == "publish"
        with pytest.raises(CheckoutRefused, match="expired"):
            sandbox.place_order({**SHOPPER, "subtotal_minor": 1_000})


async def test_a_shop_that_does_not_show_a_status_lets_the_code_expire() -> None:
    silent = {name: value for name, value in COUPON.items() if name != "status"}
    over = {**silent, "date_expires_gmt": "1999-12-31T23:00:00"}
    async with answering((200, silent), (200, over)) as (store, seen):
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


async def test_restoring_from_the_trash_leaves_no_second_coupon_to_bring_back() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        assert pushed.external_id
        sandbox.coupons.delete(int(pushed.external_id), force=False)
        restored = await store.restore(DRAFT, KnownCode(pushed.code, pushed.external_id, None))
        assert restored.refused is None
        assert [one for one in sandbox.coupons.by_id if str(one) == pushed.external_id] == []


async def test_a_coupon_used_before_it_went_to_the_trash_is_not_given_again() -> None:
    async with standing(SMALL) as (sandbox, store):
        (pushed,) = await store.push([DRAFT])
        assert pushed.external_id
        sandbox.place_order({**SHOPPER, "subtotal_minor": 1_000})
        sandbox.coupons.delete(int(pushed.external_id), force=False)
        restored = await store.restore(DRAFT, KnownCode(pushed.code, pushed.external_id, None))
        assert restored.refused == "the coupon was used before it went to the trash"
        assert "bday-ab12" not in sandbox.coupons.by_code
