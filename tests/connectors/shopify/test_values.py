"""Store credit and gift cards: given once, found again after a lost answer, taken back as far as something is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from connectors.base import Capability
from connectors.shopify import CONNECTOR
from connectors.shopify.store import ShopifyStore
from connectors.shopify.values import NEEDED
from rewards.differences import GONE, value_difference
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import Benefit, BenefitKind, Binding, CodeDraft
from sandbox.server import CheckoutRefused
from sandbox.shopify import CLIENT_ID
from tests.connectors.shopify.shops import Shop, a_shop

ZONE = ZoneInfo("Europe/Madrid")
NOW = datetime.now(UTC).replace(microsecond=0)
END = datetime.combine((NOW + timedelta(days=30)).date(), datetime.max.time(), ZONE).astimezone(UTC)
END = END.replace(microsecond=0)
CREDIT = Benefit(BenefitKind.STORE_CREDIT, amount_minor=1_250, currency="EUR")
CARD = Benefit(BenefitKind.GIFT_CARD, amount_minor=1_250, currency="EUR")
BOTH = pytest.mark.parametrize("benefit", [CREDIT, CARD], ids=lambda one: one.kind.value)
MUTATION = {
    BenefitKind.STORE_CREDIT: "storeCreditAccountCredit",
    BenefitKind.GIFT_CARD: "giftCardCreate",
}


@dataclass
class Giving(Shop):
    """A shop, the store that the connector opens on it, and its first customer."""

    store_: ShopifyStore
    customer: str

    def draft(self, benefit: Benefit, number: int = 0) -> CodeDraft:
        return CodeDraft(
            code=f"ABCDEFGHJKLMNP{number:02}",
            idempotency_key=f"grant:{number}",
            reward_key="reward-1-v1",
            title="Happy birthday (birthday:2026)",
            benefit=benefit,
            starts_at=NOW,
            ends_at=END,
            customer_external_id=self.customer,
            email="ada@people.example",
            binding=Binding.BOUND,
        )

    def given(self) -> list[int]:
        """All that the customer was given, of either kind."""
        cards = [card.initial_minor for card in self.sandbox.cards.cards.values()]
        return self.sandbox.credit.given(self.customer) + cards

    async def loses_the_answer(self, draft: CodeDraft) -> None:
        """Asks for it, and never hears what became of that."""
        self.sandbox.unanswered[MUTATION[draft.benefit.kind]] = 1
        with pytest.raises(RetryLaterError):
            await self.store_.give(draft, NOW)


@asynccontextmanager
async def giving(**settings: str) -> AsyncIterator[Giving]:
    async with a_shop() as shop:
        store = shop.store(await shop.connected(patience_seconds="0", **settings))
        yield Giving(shop.sandbox, shop.session, store, next(iter(shop.sandbox.customers)))


# -- giving ----------------------------------------------------------------------------------------------------------


async def test_store_credit_is_in_the_customers_account_until_the_reward_ends() -> None:
    async with giving() as shop:
        draft = shop.draft(CREDIT)
        number = await shop.store_.give(draft, NOW)
        [account] = shop.sandbox.credit.accounts.values()
        [made] = account.transactions
        assert (account.customer, account.currency, account.balance_minor) == (shop.customer, "EUR", 1_250)
        assert (str(made.number), made.expires_at, made.is_told) == (number, END, True)
        [held] = await shop.store_.held([(draft, number)])
        assert value_difference(draft, held) is None


async def test_a_gift_card_has_our_code_and_ends_on_the_shops_last_day() -> None:
    async with giving() as shop:
        draft = shop.draft(CARD)
        number = await shop.store_.give(draft, NOW)
        [made] = shop.sandbox.cards.cards.values()
        assert (str(made.number), made.code) == (number, draft.code.lower())
        assert (made.initial_minor, made.customer, made.note) == (1_250, shop.customer, draft.title)
        assert made.expires_on == END.astimezone(ZONE).date()
        assert made.sent_at is not None, "Shopify sends it to the customer"
        [held] = await shop.store_.held([(draft, number)])
        assert value_difference(draft, held) is None


async def test_customers_are_told_nothing_where_the_merchant_says_so() -> None:
    async with giving(tell_customers="off") as shop:
        await shop.store_.give(shop.draft(CREDIT), NOW)
        await shop.store_.give(shop.draft(CARD), NOW)
        [account] = shop.sandbox.credit.accounts.values()
        [card] = shop.sandbox.cards.cards.values()
        assert (account.transactions[0].is_told, card.sent_at) == (False, None)


async def test_a_setting_that_says_neither_is_told_of_and_customers_are_told() -> None:
    async with giving(tell_customers="maybe") as shop:
        [notice] = (await shop.store_.facts()).notices
        assert "tell_customers must be on or off" in notice
        await shop.store_.give(shop.draft(CREDIT), NOW)
        [account] = shop.sandbox.credit.accounts.values()
        assert account.transactions[0].is_told


async def test_a_customer_whose_address_we_do_not_see_is_not_sent_a_card() -> None:
    """Shopify may refuse a recipient that it cannot write to."""
    async with giving() as shop:
        await shop.store_.give(replace(shop.draft(CARD), email=None), NOW)
        [card] = shop.sandbox.cards.cards.values()
        assert (card.customer, card.sent_at) == (shop.customer, None)


async def test_a_member_without_a_customer_record_has_a_card_and_no_credit() -> None:
    async with giving() as shop:
        guest = replace(shop.draft(CARD), customer_external_id=None)
        await shop.store_.give(guest, NOW)
        [card] = shop.sandbox.cards.cards.values()
        assert (card.customer, card.sent_at) == (None, None)
        with pytest.raises(RefusedError, match="customer record"):
            await shop.store_.give(replace(guest, benefit=CREDIT), NOW)


# -- lost answers ----------------------------------------------------------------------------------------------------


@BOTH
async def test_after_a_lost_answer_it_is_found_and_not_given_again(benefit: Benefit) -> None:
    async with giving() as shop:
        draft = shop.draft(benefit)
        assert await shop.store_.look_for(draft, NOW, ()) is None
        await shop.loses_the_answer(draft)
        assert shop.given() == [1_250]
        found = await shop.store_.look_for(draft, NOW, ())
        [held] = await shop.store_.held([(draft, found or "")])
        assert value_difference(draft, held) is None


@BOTH
async def test_it_is_sent_once_even_with_patience(benefit: Benefit) -> None:
    """A gift card may be asked for again, and is made once; store credit may not."""
    async with giving() as shop:
        patient = shop.store(await shop.connected(patience_seconds="5"))
        shop.sandbox.unanswered[MUTATION[benefit.kind]] = 1
        if benefit is CREDIT:
            with pytest.raises(RetryLaterError):
                await patient.give(shop.draft(benefit), NOW)
        else:
            await patient.give(shop.draft(benefit), NOW)
        assert shop.given() == [1_250]


@BOTH
async def test_what_was_throttled_was_not_given_and_is_asked_again(benefit: Benefit) -> None:
    async with giving() as shop:
        patient = shop.store(await shop.connected(patience_seconds="5"))
        shop.sandbox.faults.throttle = 2
        await patient.give(shop.draft(benefit), NOW)
        assert shop.given() == [1_250]


async def test_of_two_equal_gifts_each_finds_its_own() -> None:
    async with giving() as shop:
        one, two = shop.draft(CREDIT, 1), shop.draft(CREDIT, 2)
        await shop.loses_the_answer(one)
        await shop.loses_the_answer(two)
        first = await shop.store_.look_for(one, NOW, ())
        assert first is not None
        second = await shop.store_.look_for(two, NOW, [first])
        assert second not in (None, first)
        assert await shop.store_.look_for(shop.draft(CREDIT, 3), NOW, [first, second or ""]) is None


async def test_what_others_gave_the_customer_is_not_taken_for_ours() -> None:
    async with giving() as shop:
        await shop.store_.give(shop.draft(replace(CREDIT, amount_minor=900)), NOW)
        assert await shop.store_.look_for(shop.draft(CREDIT), NOW, ()) is None
        long_ago = shop.draft(CREDIT)
        await shop.store_.give(long_ago, NOW)
        assert await shop.store_.look_for(long_ago, NOW + timedelta(days=2), ()) is None


async def test_a_clock_of_ours_that_is_hours_ahead_finds_it_all_the_same() -> None:
    async with giving() as shop:
        draft = shop.draft(CREDIT)
        await shop.loses_the_answer(draft)
        assert await shop.store_.look_for(draft, NOW + timedelta(hours=20), ()) is not None


async def test_what_nobody_can_tell_counts_as_given() -> None:
    """The merchant gives the same amount by hand on the same day, with an end of their own."""
    async with giving() as shop:
        draft = shop.draft(CREDIT)
        await shop.store_.give(replace(draft, ends_at=END + timedelta(days=60)), NOW)
        with pytest.raises(RefusedError, match="look at their store credit"):
            await shop.store_.look_for(draft, NOW, ())


async def test_a_customer_who_is_gone_leaves_nothing_to_look_at() -> None:
    async with giving() as shop:
        del shop.sandbox.customers[shop.customer]
        with pytest.raises(RefusedError, match="merged"):
            await shop.store_.look_for(shop.draft(CREDIT), NOW, ())
        with pytest.raises(RefusedError, match="gone from the shop"):
            await shop.store_.give(shop.draft(CREDIT), NOW)


async def test_many_transactions_are_read_page_by_page_and_no_further_than_needed() -> None:
    async with giving() as shop:
        draft = shop.draft(CREDIT)
        number = await shop.store_.give(draft, NOW)
        for _ in range(120):
            await shop.store_.give(shop.draft(replace(CREDIT, amount_minor=1)), NOW)
        assert await shop.store_.look_for(draft, NOW, ()) == number
        before = shop.sandbox.requests
        assert await shop.store_.look_for(draft, NOW + timedelta(days=2), ()) is None
        assert shop.sandbox.requests == before + 2


async def test_a_card_that_the_search_does_not_know_yet_is_looked_for_later() -> None:
    async with giving() as shop:
        draft = shop.draft(CARD)
        await shop.loses_the_answer(draft)
        shop.sandbox.cards.search_is_late = True
        assert await shop.store_.look_for(draft, NOW, ()) is None
        with pytest.raises(RetryLaterError, match="search"):
            await shop.store_.give(draft, NOW)
        shop.sandbox.cards.search_is_late = False
        assert await shop.store_.give(draft, NOW) == await shop.store_.look_for(draft, NOW, ())
        assert shop.given() == [1_250]


async def test_a_code_that_another_card_has_is_refused() -> None:
    async with giving() as shop:
        draft = shop.draft(CARD)
        await shop.store_.give(replace(draft, benefit=replace(CARD, amount_minor=5_000)), NOW)
        with pytest.raises(RefusedError, match="another gift card"):
            await shop.store_.give(draft, NOW)
        assert shop.given() == [5_000]


# -- limits and features ---------------------------------------------------------------------------------------------


async def test_limits_are_named_with_their_number() -> None:
    async with giving() as shop:
        dear = replace(CARD, amount_minor=200_001)
        with pytest.raises(RefusedError, match=r"can't exceed 2000\.00 EUR"):
            await shop.store_.give(shop.draft(dear), NOW)
        settings = (await shop.store_.facts()).settings
        assert "at most 2000.00 EUR" in (CONNECTOR.refuses(dear, settings) or "")
        assert CONNECTOR.refuses(CARD, settings) is None
        shop.sandbox.credit.most_minor = 2_000
        await shop.store_.give(shop.draft(CREDIT), NOW)
        with pytest.raises(RefusedError, match="less than 15,000 US dollars"):
            await shop.store_.give(shop.draft(CREDIT, 1), NOW)
        dollars = Benefit(BenefitKind.STORE_CREDIT, amount_minor=1_500_000, currency="USD")
        assert "15,000" in (CONNECTOR.refuses(dollars, settings) or "")
        assert shop.given() == [1_250]


async def test_a_plan_without_gift_cards_says_what_to_do() -> None:
    async with giving() as shop:
        shop.sandbox.cards.plan_has_them = False
        with pytest.raises(RefusedError, match="Choose a plan with gift cards"):
            await shop.store_.give(shop.draft(CARD), NOW)


async def test_a_shop_says_what_it_lets_us_give() -> None:
    async with giving() as shop:
        facts = await shop.store_.facts()
        assert (facts.settings["store_credit"], facts.settings["gift_cards"]) == ("on", "on")
        assert CONNECTOR.lacks(facts.settings) == {}
        assert facts.notices == ()
        shop.sandbox.credit.is_on = False
        lacks = CONNECTOR.lacks((await shop.store_.facts()).settings)
        assert lacks.keys() == {Capability.STORE_CREDIT}
        assert "Settings, Customer accounts" in lacks[Capability.STORE_CREDIT]


@pytest.mark.parametrize("capability", list(NEEDED))
async def test_without_the_permissions_nothing_is_asked_and_they_are_named(capability: Capability) -> None:
    async with giving() as shop:
        scopes = shop.sandbox.oauth.scopes
        scopes[:] = [held for held in scopes if held.replace("write_", "read_") not in NEEDED[capability]]
        lacks = CONNECTOR.lacks((await shop.store_.facts()).settings)
        assert lacks.keys() == {capability}
        for scope in NEEDED[capability]:
            assert scope in lacks[capability]
        benefit = {Capability.STORE_CREDIT: CREDIT, Capability.GIFT_CARDS: CARD}[capability]
        with pytest.raises(RefusedError, match="lacks a permission"):
            await shop.store_.give(shop.draft(benefit), NOW)
        with pytest.raises(RefusedError, match="lacks a permission"):
            await shop.store_.look_for(shop.draft(benefit), NOW, ())
        assert shop.given() == []


async def test_a_shop_with_the_operators_app_is_told_where_to_grant_them() -> None:
    async with giving() as shop:
        shop.sandbox.oauth.scopes.remove("write_gift_cards")
        settings = (await shop.store(await shop.installed()).facts()).settings
        said = CONNECTOR.lacks(settings)[Capability.GIFT_CARDS]
        page = next(word for word in said.split() if word.startswith("https://"))
        assert urlsplit(page).netloc == shop.sandbox.shop
        asked = parse_qs(urlsplit(page).query)
        assert asked["optional_scopes"] == ["read_gift_cards,write_gift_cards"]
        assert asked["client_id"] == [CLIENT_ID]
        own = (await shop.store_.facts()).settings
        assert "Dev Dashboard" in CONNECTOR.lacks(own)[Capability.GIFT_CARDS]


# -- looking at it, and taking it back -------------------------------------------------------------------------------


async def test_what_is_spent_is_no_difference_and_a_card_switched_off_is() -> None:
    async with giving() as shop:
        credit, card = shop.draft(CREDIT), shop.draft(CARD)
        given = [(credit, await shop.store_.give(credit, NOW)), (card, await shop.store_.give(card, NOW))]
        shop.sandbox.credit.spend(shop.customer, 1_250)
        shop.sandbox.cards.spend(card.code, 1_000)
        spent = await shop.store_.held(given)
        assert [one.left_minor for one in spent if one] == [0, 250]
        assert [value_difference(draft, held) for (draft, _), held in zip(given, spent, strict=True)] == [
            None
        ] * 2
        shop.sandbox.cards.cards[int(given[1][1])].deactivated_at = NOW
        [_, off] = await shop.store_.held(given)
        assert value_difference(card, off) == "it is switched off"
        [gone] = await shop.store_.held([(card, "1599999999")])
        assert value_difference(card, gone) == GONE


async def test_a_card_is_switched_off_for_good_with_what_is_left_on_it() -> None:
    async with giving() as shop:
        draft = shop.draft(CARD)
        number = await shop.store_.give(draft, NOW)
        shop.sandbox.cards.spend(draft.code, 1_000)
        assert await shop.store_.take_back(draft, number, None) == 250
        assert await shop.store_.take_back(draft, number, NOW) == 250
        with pytest.raises(CheckoutRefused, match="expired"):
            shop.sandbox.cards.spend(draft.code, 1)


async def test_of_store_credit_only_what_is_left_of_it_is_taken() -> None:
    async with giving() as shop:
        draft = shop.draft(CREDIT)
        number = await shop.store_.give(draft, NOW)
        later = replace(shop.draft(CREDIT, 1), ends_at=END + timedelta(days=1))
        await shop.store_.give(later, NOW)
        shop.sandbox.credit.spend(shop.customer, 1_000)
        assert await shop.store_.take_back(draft, number, None) == 250
        [account] = shop.sandbox.credit.accounts.values()
        assert account.balance_minor == 1_250, "the other gift is untouched"
        assert await shop.store_.take_back(draft, number, None) == 0


async def test_a_taking_back_whose_answer_is_lost_takes_once() -> None:
    async with giving() as shop:
        sooner = replace(shop.draft(CREDIT, 1), ends_at=END - timedelta(days=1))
        draft = shop.draft(CREDIT)
        await shop.store_.give(sooner, NOW)
        number = await shop.store_.give(draft, NOW)
        shop.sandbox.unanswered["storeCreditAccountDebit"] = 1
        with pytest.raises(RetryLaterError):
            await shop.store_.take_back(draft, number, None)
        # Shopify takes from what ends first: what is left of the credit itself would not tell.
        assert await shop.store_.take_back(draft, number, NOW) == 1_250
        [account] = shop.sandbox.credit.accounts.values()
        assert account.balance_minor == 1_250


async def test_what_is_gone_cannot_be_taken_back() -> None:
    async with giving() as shop:
        for benefit in (CREDIT, CARD):
            with pytest.raises(RefusedError, match="nothing to take back"):
                await shop.store_.take_back(shop.draft(benefit), "1599999999", None)
