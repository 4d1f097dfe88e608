"""Codes for whoever holds them: many in one discount, followed to the end of their jobs, each taken away by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.shopify import CONNECTOR
from connectors.shopify.discount_inputs import anchor
from connectors.shopify.store import ShopifyStore
from rewards.differences import GONE, USED, code_difference
from rewards.errors import RetryLaterError
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft, KnownCode, PushedCode
from sandbox.server import CheckoutRefused
from sandbox.shopify_discounts import BASIC, Discount
from tests.connectors.shopify.shops import Shop, a_shop

PERCENT = Benefit(BenefitKind.PERCENTAGE, basis_points=1_500)
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
END = START + timedelta(days=30)


@dataclass
class Open(Shop):
    """A shop and the store that the connector opens on it."""

    store_: ShopifyStore

    def pools(self) -> list[Discount]:
        return [found for found in self.sandbox.discounts if found.by_app]

    async def again(self, **settings: str) -> ShopifyStore:
        """The same store opened anew, as the next process does it."""
        return self.store(await self.connected(**settings))


@contextlib.asynccontextmanager
async def open_shop() -> AsyncIterator[Open]:
    async with a_shop() as shop:
        yield Open(shop.sandbox, shop.session, shop.store(await shop.connected()))


def draft(
    number: int, *, ends_at: datetime = END, reward: str = "perennial-r1", benefit: Benefit = PERCENT
) -> CodeDraft:
    code = f"BDAY-{number:012d}"
    return CodeDraft(
        code, f"grant-{code}", reward, "Birthday", benefit, START, ends_at, None, None, Binding.OPEN
    )


def known(pushed: PushedCode) -> KnownCode:
    assert pushed.refused is None, pushed.refused
    return KnownCode(pushed.code, pushed.external_id, pushed.coupon_external_id)


def buy(shop: Shop, code: str, email: str = "anybody@people.example") -> object:
    return shop.sandbox.place_order({"email": email, "subtotal_minor": 4_000, "code": code})["discount_minor"]


async def test_ten_thousand_codes_take_at_most_sixty_calls_polls_included() -> None:
    async with open_shop() as shop:
        drafts = [draft(number) for number in range(10_000)]
        assert CONNECTOR.open_push_size
        before, size = shop.sandbox.requests, CONNECTOR.open_push_size
        pushed = []
        for start in range(0, len(drafts), size):
            pushed += await shop.store_.push(drafts[start : start + size])
        calls = shop.sandbox.requests - before
        assert {answer.refused for answer in pushed} == {None}
        assert [answer.code for answer in pushed] == [each.code for each in drafts]
        assert shop.sandbox.codes_in_store() == 10_000
        assert len(shop.pools()) == 1
        assert 41 < calls <= 60
        assert shop.sandbox.bucket.refused == 0


async def test_each_reward_and_end_date_has_one_discount() -> None:
    async with open_shop() as shop:
        later = END + timedelta(days=1)
        drafts = [
            draft(1),
            draft(2, ends_at=later),
            draft(3, reward="perennial-r2"),
            draft(4),
        ]
        pushed = await shop.store_.push(drafts)
        assert pushed[0].coupon_external_id == pushed[3].coupon_external_id
        assert len({answer.coupon_external_id for answer in pushed}) == len(shop.pools()) == 3
        [after] = await (await shop.again()).push([draft(5, ends_at=later)])
        assert after.coupon_external_id == pushed[1].coupon_external_id
        assert {found.ends_at for found in shop.pools()} == {END, later}


async def test_each_code_works_once_for_whoever_holds_it() -> None:
    async with open_shop() as shop:
        one, two = await shop.store_.push([draft(1), draft(2)])
        assert buy(shop, one.code.lower()) == 600
        with pytest.raises(CheckoutRefused, match="used_up"):
            buy(shop, one.code, "another@people.example")
        assert buy(shop, two.code) == 600, "a friend's code is good for the same buyer"
        [used, unused] = await shop.store_.find([known(one), known(two)])
        assert code_difference(draft(1), used) == USED
        assert unused is not None
        assert unused.used_count == 1


async def test_codes_are_found_as_the_shop_holds_them_few_or_many() -> None:
    async with open_shop() as shop:
        drafts = [draft(number) for number in range(300)]
        codes = [known(answer) for answer in await shop.store_.push(drafts)]
        strange = KnownCode("BDAY-NEVER", None, codes[0].coupon_external_id)
        for asked in ([*codes[:2], strange], codes):
            before = shop.sandbox.requests
            found = await shop.store_.find(asked)
            assert shop.sandbox.requests - before <= 6
            for code, coupon in zip(asked, found, strict=True):
                if code is strange:
                    assert coupon is None
                    continue
                assert coupon is not None
                assert (coupon.code, coupon.parent_external_id) == (code.code, code.coupon_external_id)
                assert code_difference(drafts[codes.index(code)], coupon) is None


async def test_pushing_again_finds_what_is_there_before_asking_for_more() -> None:
    async with open_shop() as shop:
        drafts = [draft(number) for number in range(600)]
        first = await shop.store_.push(drafts[:400])
        before = shop.sandbox.requests
        again = await (await shop.again()).push(drafts)
        assert again[:400] == first
        assert shop.sandbox.codes_in_store() == 600
        # A token, the pool, two pages of its codes, one job, a few polls.
        assert shop.sandbox.requests - before < 20


async def test_an_add_whose_answer_is_lost_adds_no_code_twice_and_loses_none() -> None:
    async with open_shop() as shop:
        await shop.store_.push([draft(0)])
        drafts = [draft(number) for number in range(1, 300)]
        shop.sandbox.faults.cut = 1
        pushed = await shop.store_.push(drafts)
        assert {answer.refused for answer in pushed} == {None}
        assert shop.sandbox.codes_in_store() == 300


async def test_a_code_of_another_discount_is_refused_alone() -> None:
    async with open_shop() as shop:
        taken = replace(draft(1), code="welcome10")
        mine, theirs, other = await shop.store_.push([draft(2), taken, draft(3)])
        assert (mine.refused, other.refused) == (None, None)
        assert "another discount" in (theirs.refused or "")
        again = await (await shop.again()).push([taken, draft(2)])
        assert again[0].refused
        assert again[1] == mine
        welcome = shop.sandbox.discounts.by_code("WELCOME10")
        assert welcome is not None
        assert not welcome.by_app


async def test_a_full_shop_refuses_the_codes_that_do_not_fit_and_says_so() -> None:
    async with open_shop() as shop:
        shop.sandbox.discounts.most_codes = 4 + 1 + 2  # the merchant's, the anchor, two of ours
        pushed = await shop.store_.push([draft(number) for number in range(4)])
        assert [answer.refused is None for answer in pushed] == [True, True, False, False]
        assert "most discount codes" in (pushed[3].refused or "")
        [late] = await (await shop.again()).push([draft(9, reward="perennial-r2")])
        assert "most discount codes" in (late.refused or "")


async def test_two_at_once_make_one_pool() -> None:
    async with open_shop() as shop:
        other = await shop.again()
        sets = [[draft(number) for number in range(5)], [draft(number) for number in range(3, 8)]]
        one, two = await asyncio.gather(shop.store_.push(sets[0]), other.push(sets[1]))
        assert len(shop.pools()) == 1
        assert shop.sandbox.codes_in_store() == 8
        assert {answer.refused for answer in [*one, *two]} == {None}


async def test_revoking_takes_one_code_away_and_leaves_the_others() -> None:
    async with open_shop() as shop:
        one, two = await shop.store_.push([draft(1), draft(2)])
        await shop.store_.revoke(known(one))
        await shop.store_.revoke(known(one))
        assert await shop.store_.find([known(one)]) == [None]
        with pytest.raises(CheckoutRefused, match="unknown_code"):
            buy(shop, one.code)
        assert buy(shop, two.code) == 600
        [pool] = shop.pools()
        assert pool.ends_at == END
        assert await shop.store_.restore(draft(1), known(one)) == one
        assert buy(shop, one.code) == 600


async def test_a_pool_edited_in_the_admin_is_told_and_mended_for_everybody() -> None:
    async with open_shop() as shop:
        pushed = await shop.store_.push([draft(1), draft(2)])
        [pool] = shop.pools()
        pool.percentage, pool.usage_limit, pool.minimum_minor, pool.ends_at = 0.5, None, 900, START
        pool.customers = ["7000000001"]
        [found, _] = await shop.store_.find([known(answer) for answer in pushed])
        told = code_difference(draft(1), found) or ""
        for word in ("switched off", "something else", "too early", "more than once", "only one customer"):
            assert word in told
        assert await shop.store_.restore(draft(1), known(pushed[0])) == pushed[0]
        for each, coupon in zip((1, 2), await shop.store_.find([known(a) for a in pushed]), strict=True):
            assert code_difference(draft(each), coupon) is None


async def test_a_pool_that_was_ended_takes_no_new_codes_until_it_is_repaired() -> None:
    async with open_shop() as shop:
        [first] = await shop.store_.push([draft(1)])
        shop.sandbox.discounts.deactivate(int(first.coupon_external_id or 0), shop.sandbox.clock())
        store = await shop.again()
        [refused] = await store.push([draft(2)])
        assert "repair" in (refused.refused or "")
        await store.restore(draft(1), known(first))
        [accepted] = await store.push([draft(2)])
        assert accepted.refused is None


async def test_a_pool_that_was_deleted_is_made_again_with_the_same_codes() -> None:
    async with open_shop() as shop:
        drafts = [draft(1), draft(2)]
        codes = [known(answer) for answer in await shop.store_.push(drafts)]
        shop.sandbox.discounts.delete(int(codes[0].coupon_external_id or 0))
        assert await shop.store_.find(codes) == [None, None]
        assert code_difference(drafts[0], None) == GONE
        await shop.store_.revoke(codes[0])
        store = await shop.again()
        back = [await store.restore(each, code) for each, code in zip(drafts, codes, strict=True)]
        assert len({answer.coupon_external_id for answer in back}) == len(shop.pools()) == 1
        assert back[0].coupon_external_id != codes[0].coupon_external_id
        assert [coupon is not None for coupon in await store.find([known(answer) for answer in back])] == [
            True,
            True,
        ]
        assert [coupon is not None for coupon in await store.find(codes)] == [True, True], "by their text"


async def test_a_pool_deleted_while_codes_are_added_is_for_later_and_then_made_anew() -> None:
    async with open_shop() as shop:
        [first] = await shop.store_.push([draft(1)])
        shop.sandbox.discounts.delete(int(first.coupon_external_id or 0))
        with pytest.raises(RetryLaterError):
            await shop.store_.push([draft(2)])
        [second] = await shop.store_.push([draft(2)])
        assert second.refused is None
        assert second.coupon_external_id != first.coupon_external_id


async def test_an_anchor_that_is_somebody_elses_is_not_taken_over() -> None:
    async with open_shop() as shop:
        content = {
            "title": "Mine",
            "code": anchor("perennial-r1", END),
            "startsAt": START.isoformat(),
            "context": {"all": "ALL"},
            "customerGets": {"value": {"percentage": 0.5}, "items": {"all": True}},
        }
        made, errors = shop.sandbox.discounts.create(BASIC, content, "discount", shop.sandbox.clock(), (), 2)
        assert made is not None, errors
        shipping = draft(1, benefit=Benefit(BenefitKind.FREE_SHIPPING))
        [answer] = await shop.store_.push([shipping])
        assert answer.refused
        assert made.percentage == 0.5


async def test_free_shipping_and_amounts_can_be_for_whoever_holds_the_code() -> None:
    async with open_shop() as shop:
        amount = Benefit(BenefitKind.AMOUNT, amount_minor=700, currency="EUR", minimum_minor=3_000)
        drafts = [
            draft(1, reward="a", benefit=Benefit(BenefitKind.FREE_SHIPPING)),
            draft(2, reward="b", benefit=amount),
        ]
        pushed = await shop.store_.push(drafts)
        found = await shop.store_.find([known(answer) for answer in pushed])
        assert [code_difference(each, coupon) for each, coupon in zip(drafts, found, strict=True)] == [
            None,
            None,
        ]
        assert [buy(shop, each.code) for each in drafts] == [495, 700]


async def test_a_permission_that_is_missing_refuses_the_codes_without_trying_each() -> None:
    async with open_shop() as shop:
        shop.sandbox.oauth.scopes[:] = ["read_customers", "read_discounts"]
        before = shop.sandbox.requests
        pushed = await shop.store_.push([draft(number) for number in range(600)])
        assert "write_discounts" in (pushed[0].refused or "")
        assert shop.sandbox.requests - before < 10
