"""Codes as a reward asks for them: bound or open, on what, from which amount; and what becomes of them in the store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.base import Capability, Store
from connectors.stripe import CONNECTOR
from rewards.differences import code_difference
from rewards.records import Benefit, BenefitKind, Binding
from sandbox.server import CheckoutRefused
from sandbox.stripe import StripeSandbox
from tests.connectors.stripe.conftest import Opener
from tests.connectors.stripe.drafts import TEN, draft, known

FIVE_EUROS = Benefit(BenefitKind.AMOUNT, amount_minor=500, currency="EUR", minimum_minor=2_000)


def buy(sandbox: StripeSandbox, code: str, **who: object) -> dict[str, object]:
    return sandbox.place_order({"subtotal_minor": 5_000, "code": code, **who})


# -- bound or open ---------------------------------------------------------------------------------------------------


async def test_a_bound_code_is_its_customers_and_an_open_one_its_holders_once(
    sandbox: StripeSandbox, store: Store
) -> None:
    bound, open_ = await store.push([draft(1), draft(2, binding=Binding.OPEN)])
    with pytest.raises(CheckoutRefused, match="wrong_customer"):
        buy(sandbox, bound.code, email="anybody@people.example")
    assert buy(sandbox, bound.code, customer="cus_Sbx00000000001")["discount_minor"] == 500
    assert buy(sandbox, open_.code, email="anybody@people.example")["discount_minor"] == 500
    with pytest.raises(CheckoutRefused, match="used_up"):
        buy(sandbox, open_.code, customer="cus_Sbx00000000002")
    assert sandbox.account.codes.by_id[str(open_.external_id)].customer is None


async def test_a_bound_code_for_somebody_without_customer_is_refused_with_the_way_out(
    sandbox: StripeSandbox, store: Store
) -> None:
    (refused,) = await store.push([draft(customer_external_id=None, email="guest@people.example")])
    assert refused.refused
    assert "open" in refused.refused
    assert sandbox.codes_in_store() == 0


def test_what_stripe_cannot_do_is_said_for_everything_that_is_not_a_capability() -> None:
    ours = {
        Capability.OPEN_CODES,
        Capability.LIMIT_TO_PRODUCTS,
        Capability.FIRST_TIME_ONLY,
        Capability.WRITE_BIRTHDAY,
    }
    cannot = {
        Capability.CODES_FOR_GUESTS,
        Capability.FREE_SHIPPING,
        Capability.FREE_PRODUCT,
        Capability.LIMIT_TO_COLLECTIONS,
        Capability.COMBINES,
        Capability.SHARED_LIMIT_PER_CUSTOMER,
    }
    assert ours <= CONNECTOR.capabilities
    assert not cannot & CONNECTOR.capabilities
    assert cannot | set(Binding) <= set(CONNECTOR.explains)


@pytest.mark.parametrize(
    "benefit",
    [
        Benefit(BenefitKind.FREE_SHIPPING),
        Benefit(BenefitKind.FREE_PRODUCT, product_external_ids=("prod_Sbx00000000000",)),
        Benefit(BenefitKind.PERCENTAGE, basis_points=1_000, collection_external_ids=("c1",)),
        Benefit(BenefitKind.OTHER),
        Benefit(BenefitKind.STORE_CREDIT, amount_minor=500, currency="EUR"),
        Benefit(BenefitKind.GIFT_CARD, amount_minor=500, currency="EUR"),
    ],
)
async def test_what_stripe_cannot_give_makes_neither_coupon_nor_code(
    sandbox: StripeSandbox, store: Store, benefit: Benefit
) -> None:
    before = len(sandbox.account.coupons)
    (refused,) = await store.push([draft(benefit=benefit)])
    assert refused.refused
    assert (len(sandbox.account.coupons), sandbox.codes_in_store()) == (before, 0)


# -- what it gives ---------------------------------------------------------------------------------------------------


async def test_a_code_for_products_takes_nothing_off_others(sandbox: StripeSandbox, store: Store) -> None:
    benefit = replace(TEN, product_external_ids=("prod_Sbx00000000001",))
    wanted = [draft(1, benefit=benefit), draft(2, benefit=benefit)]
    one, two = await store.push(wanted)
    found = await store.find([known(one), known(two)])
    assert [code_difference(*pair) for pair in zip(wanted, found, strict=True)] == [None, None]
    cake = ["prod_Sbx00000000001"]
    assert buy(sandbox, one.code, customer="cus_Sbx00000000001", products=cake)["discount_minor"] == 500
    assert buy(sandbox, two.code, customer="cus_Sbx00000000002")["discount_minor"] == 0


async def test_a_product_that_is_not_there_is_refused_once_for_all_codes_of_the_reward(
    store: Store,
) -> None:
    benefit = replace(TEN, product_external_ids=("prod_gone",))
    refused = await store.push([draft(1, benefit=benefit), draft(2, benefit=benefit)])
    assert all(each.refused and "resource_missing" in each.refused for each in refused)


async def test_a_first_order_code_is_refused_to_who_has_paid_before(
    sandbox: StripeSandbox, store: Store
) -> None:
    paid = {charge.customer for charge in sandbox.account.charges if charge.succeeded}
    new = sandbox.sign_up("New One", "new.one@people.example")
    old = next(customer.id for customer in sandbox.account.customers if customer.id in paid)
    benefit = replace(TEN, first_time_only=True)
    wanted = [draft(n, benefit=benefit, customer_external_id=who) for n, who in enumerate((new, old))]
    pushed = await store.push(wanted)
    found = await store.find([known(code) for code in pushed])
    assert [coupon and coupon.benefit.first_time_only for coupon in found] == [True, True]
    with pytest.raises(CheckoutRefused):
        buy(sandbox, pushed[1].code, customer=old)
    buy(sandbox, pushed[0].code, customer=new)


async def test_a_minimum_without_a_currency_is_in_the_stores(sandbox: StripeSandbox, store: Store) -> None:
    (code,) = await store.push([draft(benefit=replace(TEN, minimum_minor=6_000))])
    with pytest.raises(CheckoutRefused):
        buy(sandbox, code.code, customer="cus_Sbx00000000001")
    made = sandbox.account.codes.by_id[str(code.external_id)]
    assert (made.minimum_amount, made.minimum_amount_currency) == (6_000, "eur")


async def test_amounts_come_in_the_currencies_that_the_merchant_gave_rates_for(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    store = open_store(currency_rates="USD=1.105, JPY=160, ISK=150")
    (code,) = await store.push([draft(benefit=FIVE_EUROS)])
    coupon = sandbox.account.coupons.by_id[str(code.coupon_external_id)]
    # Half a cent is rounded up; yen have no cents; Stripe counts crowns in hundredths.
    assert coupon.amounts == {"usd": 553, "jpy": 800, "isk": 75_000}
    made = sandbox.account.codes.by_id[str(code.external_id)]
    assert made.minimum_amounts == {"usd": 2_210, "jpy": 3_200, "isk": 300_000}


async def test_a_changed_rate_reaches_the_coupon_that_is_there(
    sandbox: StripeSandbox, open_store: Opener
) -> None:
    (first,) = await open_store().push([draft(1, benefit=FIVE_EUROS)])
    (second,) = await open_store(currency_rates="USD=1.20").push([draft(2, benefit=FIVE_EUROS)])
    coupon = sandbox.account.coupons.by_id[str(first.coupon_external_id)]
    assert second.coupon_external_id == coupon.id
    assert coupon.amounts == {"usd": 600}


@pytest.mark.parametrize("rates", ["USD", "USD=0", "USD=1,10", "DOLLAR=1"])
async def test_rates_that_cannot_be_read_stop_the_reward_with_an_example(
    open_store: Opener, rates: str
) -> None:
    (refused,) = await open_store(currency_rates=rates).push([draft(benefit=FIVE_EUROS)])
    assert refused.refused
    assert "USD=1.10" in refused.refused


# -- what becomes of it ----------------------------------------------------------------------------------------------


async def test_a_deleted_coupon_is_noticed_and_its_codes_are_made_anew(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = [draft(n) for n in range(1, 4)]
    pushed = [known(code) for code in await store.push(wanted)]
    sandbox.account.delete_coupon(str(pushed[0].coupon_external_id))
    found = await store.find(pushed)
    assert [code_difference(*pair) for pair in zip(wanted, found, strict=True)] == [
        "it is gone from the store"
    ] * 3
    again = [known(await store.restore(each, code)) for each, code in zip(wanted, pushed, strict=True)]
    assert not {code.external_id for code in again} & {code.external_id for code in pushed}
    assert [code.code for code in again] == [each.code for each in wanted]
    assert sandbox.codes_in_store() == 3
    buy(sandbox, again[0].code, customer="cus_Sbx00000000001")


async def test_a_coupon_deleted_between_two_pushes_is_made_again(
    sandbox: StripeSandbox, store: Store
) -> None:
    (first,) = await store.push([draft(1)])
    sandbox.account.delete_coupon(str(first.coupon_external_id))
    pushed = await store.push([draft(n) for n in range(2, 8)])
    assert [code.refused for code in pushed] == [None] * 6
    found = await store.find([known(code) for code in pushed])
    assert all(coupon and coupon.is_active for coupon in found)


async def test_a_code_switched_off_by_hand_is_told_and_switched_on_again(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = draft()
    (code,) = await store.push([wanted])
    sandbox.account.update_code(str(code.external_id), {"active": "false"})
    (found,) = await store.find([known(code)])
    assert code_difference(wanted, found) == "it is switched off"
    assert await store.restore(wanted, known(code)) == code
    (found,) = await store.find([known(code)])
    assert code_difference(wanted, found) is None


async def test_a_text_taken_by_a_twin_for_everybody_is_refused_with_what_to_do(
    sandbox: StripeSandbox, store: Store
) -> None:
    twin = sandbox.account.create_code(
        {"promotion": {"type": "coupon", "coupon": "WELCOME"}, "code": "birthday-0001"}
    )
    (refused,) = await store.push([draft(1)])
    assert refused.refused
    assert "Switch that one off" in refused.refused
    # Stripe keeps that answer for a day, and still: when the way is free, the code is made.
    (again,) = await store.push([draft(1)])
    assert again.refused == refused.refused
    sandbox.account.update_code(twin.id, {"active": "false"})
    (code,) = await store.push([draft(1)])
    assert code.refused is None
    assert await store.push([draft(1)]) == [code]
    assert len([each for each in sandbox.account.codes if each.code == code.code]) == 1


async def test_a_used_code_is_given_back_as_a_new_one_with_the_same_text(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = draft()
    (used,) = await store.push([wanted])
    buy(sandbox, used.code, customer="cus_Sbx00000000001")
    renewed = [await store.restore(wanted, known(used)) for _ in range(2)]
    assert renewed[0] == renewed[1] != used
    old, new = await store.find([known(used), known(renewed[0])])
    assert old
    assert new
    assert (old.is_active, new.is_active, old.code, new.code) == (False, True, used.code, used.code)


@pytest.mark.parametrize("binding", list(Binding))
async def test_a_lost_answer_makes_no_second_code(
    sandbox: StripeSandbox, open_store: Opener, binding: Binding
) -> None:
    store = open_store(patience_seconds="10")
    sandbox.api.cut_after_writing = 2  # the coupon's answer, and the code's
    (code,) = await store.push([draft(binding=binding)])
    assert code.refused is None
    assert sandbox.codes_in_store() == 1
    sandbox.api.forget_idempotency_keys()
    day_old = draft(binding=binding)
    day_old = replace(day_old, starts_at=day_old.starts_at.replace(year=day_old.starts_at.year - 1))
    (again,) = await store.push([replace(day_old, ends_at=draft().ends_at)])
    assert again.external_id == code.external_id


# -- looked up ---------------------------------------------------------------------------------------------------------


async def test_many_codes_are_looked_up_in_lists_and_each_is_told_as_it_is(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = [draft(number, customer_external_id=f"cus_Sbx{number % 100:011d}") for number in range(230)]
    pushed = [known(code) for code in await store.push(wanted)]
    now = sandbox.clock()
    for number, code in enumerate(sandbox.account.codes):
        code.created += number  # a push takes its time; the merchant's own lie before and between
    sandbox.account.codes.rows.sort(key=lambda code: code.created)
    sandbox.clock = lambda: now
    sandbox.account.update_code(str(pushed[7].external_id), {"active": "false"})
    gone = replace(pushed[9], external_id="promo_gone")
    asked = [*pushed[:9], gone, *pushed[10:]]
    before = sandbox.requests
    found = await store.find(asked)
    assert sandbox.requests - before <= 8
    assert [coupon and coupon.external_id for coupon in found] == [
        None if code is gone else code.external_id for code in asked
    ]
    told = [code_difference(*pair) for pair in zip(wanted, found, strict=True)]
    assert (told[7], told[9]) == ("it is switched off", "it is gone from the store")
    assert [difference for n, difference in enumerate(told) if n not in (7, 9)] == [None] * 228


async def test_codes_beyond_what_the_lists_hold_are_asked_for_one_by_one(
    sandbox: StripeSandbox, store: Store
) -> None:
    pushed = [known(code) for code in await store.push([draft(n) for n in range(1, 31)])]
    for place in (0, 29):  # then there is no first or last to look between
        lost = [*pushed]
        lost[place] = replace(pushed[place], external_id="promo_gone")
        found = await store.find(lost)
        assert [coupon is None for coupon in found] == [n == place for n in range(30)]
    reversed_ = await store.find(pushed[::-1])
    assert [coupon and coupon.external_id for coupon in reversed_] == [
        code.external_id for code in pushed[::-1]
    ]


async def test_a_key_that_stripe_kept_with_other_parameters_still_finds_the_code(
    sandbox: StripeSandbox, store: Store
) -> None:
    wanted = draft()
    (code,) = await store.push([wanted])
    for key, (_, status, body) in sandbox.api._replays.items():
        sandbox.api._replays[key] = ("another request", status, body)
    assert await store.push([wanted]) == [code]
    assert sandbox.codes_in_store() == 1
