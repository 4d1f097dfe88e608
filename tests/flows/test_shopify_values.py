"""Store credit and gift cards as rewards, through the app and its worker: each member gets theirs once, whatever happens."""

from __future__ import annotations

import random

import pytest

from rewards.errors import InvalidInputError, RefusedError, RetryLaterError
from rewards.records import Benefit, BenefitKind, Binding
from sandbox.server import Faults
from sandbox.shopify import ShopifySandbox
from storage import grant_lists, values
from storage.grants import GrantToPush
from sync.revoke import revoke_grant
from sync.values import SETTLES
from sync.verify import verify_codes
from tests.flows.stage import Shop, Stage

CREDIT = Benefit(BenefitKind.STORE_CREDIT, amount_minor=1_000, currency="EUR")
CARD = Benefit(BenefitKind.GIFT_CARD, amount_minor=1_000, currency="EUR")
BINDING = {BenefitKind.STORE_CREDIT: Binding.BOUND, BenefitKind.GIFT_CARD: Binding.OPEN}
BOTH = pytest.mark.parametrize("benefit", [CREDIT, CARD], ids=lambda one: one.kind.value)
MUTATION = {
    BenefitKind.STORE_CREDIT: "storeCreditAccountCredit",
    BenefitKind.GIFT_CARD: "giftCardCreate",
}
MINUTES = SETTLES.total_seconds() / 60 + 1


async def opened(stage: Stage, customers: int = 90) -> tuple[Shop, ShopifySandbox]:
    shop = await stage.open(ShopifySandbox, customers=customers, orders=60, birthday_share=1.0)
    assert isinstance(shop.sandbox, ShopifySandbox)
    return shop, shop.sandbox


async def with_reward(stage: Stage, benefit: Benefit, customers: int = 90) -> tuple[Shop, ShopifySandbox]:
    shop, sandbox = await opened(stage, customers)
    await shop.rewards("birthday", benefit=benefit, binding=BINDING[benefit.kind], code_prefix="")
    return shop, sandbox


def given(sandbox: ShopifySandbox) -> dict[str, list[int]]:
    """What each customer was given, by the shop's own books."""
    found = {customer: sandbox.credit.given(customer) for customer in sandbox.customers}
    for card in sandbox.cards.cards.values():
        found[card.customer or ""].append(card.initial_minor)
    return {customer: amounts for customer, amounts in found.items() if amounts}


async def all_delivered(shop: Shop, sandbox: ShopifySandbox) -> None:
    """Everybody whose day it is has theirs, once."""
    codes = await shop.codes()
    assert codes
    assert {code["state"] for code in codes} == {"delivered"}
    assert given(sandbox) == {code["customer"]: [1_000] for code in codes}


@pytest.mark.feature("P-25")
@BOTH
async def test_everybody_gets_theirs_once_and_it_ends_as_delivered(stage: Stage, benefit: Benefit) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    await stage.tick()
    await all_delivered(shop, sandbox)
    await stage.tick()
    await shop.reconciles()
    await all_delivered(shop, sandbox)
    before = len(await shop.codes())
    await stage.days_pass(40)
    codes = await shop.codes()
    assert [code["state"] for code in codes[:before]] == ["delivered"] * before, (
        "its time is over, and it was given"
    )
    assert given(sandbox) == {code["customer"]: [1_000] for code in codes}


@BOTH
async def test_a_lost_answer_gives_nobody_two(stage: Stage, benefit: Benefit) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    sandbox.unanswered[MUTATION[benefit.kind]] = 2
    for _ in range(4):
        await stage.tick()
        assert max(map(sum, given(sandbox).values())) == 1_000
        stage.clock.passes(minutes=MINUTES)
    await stage.tick()
    await all_delivered(shop, sandbox)


@BOTH
async def test_a_request_that_never_arrived_is_asked_again_when_it_is_certain(
    stage: Stage, benefit: Benefit
) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    asked = sandbox.root.fields()[MUTATION[benefit.kind]]
    assert asked is not None
    await stage.tick()
    await all_delivered(shop, sandbox)
    # As if the process had died after noting that it asks, and before it did.
    await stage.rows(
        """WITH one AS (UPDATE grants SET state = 'decided', pushed_at = NULL WHERE id = (SELECT min(id) FROM grants)
                RETURNING id)
           UPDATE promotion_codes SET external_id = NULL, pushed_at = NULL, asked_at = %s
           WHERE grant_id IN (SELECT id FROM one) RETURNING id""",
        stage.clock(),
    )
    first, *_ = await shop.codes()
    sandbox.credit.accounts.clear()
    for number, card in list(sandbox.cards.cards.items()):
        if card.code == first["code"].lower():
            del sandbox.cards.cards[number]
    await stage.tick()
    assert (await shop.codes())[0]["state"] == "decided", "it may still be under way"
    assert first["customer"] not in given(sandbox)
    stage.clock.passes(minutes=MINUTES)
    await stage.tick()
    assert (await shop.codes())[0]["state"] == "delivered"
    assert given(sandbox)[first["customer"]] == [1_000]


@pytest.mark.parametrize("seed", range(3))
@BOTH
async def test_in_a_storm_of_faults_nobody_ever_has_two_and_in_the_end_everybody_has_one(
    stage: Stage, benefit: Benefit, seed: int
) -> None:
    shop, sandbox = await with_reward(stage, benefit, customers=400)
    await stage.rows(
        'UPDATE stores SET settings = settings || \'{"patience_seconds": "0"}\' WHERE id = %s RETURNING id',
        shop.store.id,
    )
    chance = random.Random(seed)
    for _ in range(12):
        fault = chance.choice(["cut", "cut_answers", "server_errors", "malformed", "throttle", "unanswered"])
        if fault == "unanswered":
            sandbox.unanswered[MUTATION[benefit.kind]] = chance.randrange(1, 3)
        else:
            setattr(sandbox.faults, fault, 1)
            sandbox.faults.spare = chance.randrange(6)
        await stage.tick()
        assert all(amounts == [1_000] for amounts in given(sandbox).values())
        stage.clock.passes(minutes=chance.choice([1, 2, 4, 6]))
    sandbox.faults = sandbox.hooks.faults = Faults()
    sandbox.unanswered.clear()
    for _ in range(3):
        stage.clock.passes(minutes=MINUTES)
        await stage.tick()
    await all_delivered(shop, sandbox)


async def test_what_nobody_can_tell_is_not_given_again_and_says_why(stage: Stage) -> None:
    """The answer is lost, and the shop keeps another end than it was told: ours, or the merchant's own gift?"""
    shop, sandbox = await with_reward(stage, CREDIT)
    sandbox.unanswered["storeCreditAccountCredit"] = 1
    await stage.tick()
    [customer] = given(sandbox)
    [account] = sandbox.credit.accounts.values()
    ends = account.transactions[0].expires_at
    assert ends is not None
    account.transactions[0].expires_at = ends.replace(hour=12)
    for _ in range(2):
        stage.clock.passes(minutes=MINUTES)
        await stage.tick()
        await shop.reconciles()
    assert given(sandbox)[customer] == [1_000]
    async with stage.services.database.transaction() as connection:
        [failed] = await grant_lists.grants_of(connection, shop.store.id, state="failed")
    assert "look at their store credit in the Shopify admin" in (failed.state_reason or "")
    assert failed.code is None, "store credit has no code to show"
    assert set(given(sandbox)) == {code["customer"] for code in await shop.codes()}


@BOTH
async def test_two_processes_never_ask_for_the_same_grant(stage: Stage, benefit: Benefit) -> None:
    """One that was cut off from the database goes on with what it had read; the other has looked after it since."""
    shop, _ = await with_reward(stage, benefit)
    await stage.tick()
    await stage.rows("UPDATE grants SET state = 'decided' RETURNING id")
    await stage.rows("UPDATE promotion_codes SET external_id = NULL, asked_at = NULL RETURNING id")
    (row,) = await stage.rows("SELECT min(grant_id) AS grant_id FROM promotion_codes")
    database, store = stage.services.database, shop.store.id

    async def notes(grant: GrantToPush) -> bool:
        async with database.transaction() as connection:
            return await values.note_asked(connection, store, grant, stage.clock())

    async with database.transaction() as connection:
        read_by_both = await values.by_grant(connection, store, row["grant_id"])
    assert await notes(read_by_both)
    assert not await notes(read_by_both)
    async with database.transaction() as connection:
        now_known = await values.by_grant(connection, store, row["grant_id"])
        await values.record_given(connection, store, row["grant_id"], "1", stage.clock())
    assert not await notes(now_known)


@BOTH
async def test_a_permission_taken_away_lets_gifts_wait_until_it_is_back(
    stage: Stage, benefit: Benefit
) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    granted = list(sandbox.oauth.scopes)
    # No post tells of it, so what is due today is decided, and refused when it is asked for.
    sandbox.oauth.scopes[:] = [scope for scope in granted if "gift" not in scope and "credit" not in scope]
    await stage.tick()
    waiting = await shop.codes()
    assert waiting
    assert {code["state"] for code in waiting} == {"decided"}
    assert given(sandbox) == {}
    async with stage.services.database.transaction() as connection:
        shown = await grant_lists.grants_of(connection, shop.store.id)
    assert all("lacks the permissions for it" in (grant.state_reason or "") for grant in shown)
    sandbox.grant_scopes(*granted)
    await stage.settle()
    stage.clock.passes(hours=1, minutes=1)
    await stage.tick()
    stage.clock.passes(minutes=MINUTES)
    await stage.tick()
    await all_delivered(shop, sandbox)


@BOTH
async def test_a_reward_that_the_shop_cannot_give_yet_is_refused_with_what_to_do(
    stage: Stage, benefit: Benefit
) -> None:
    shop, sandbox = await opened(stage)
    granted = list(sandbox.oauth.scopes)
    sandbox.grant_scopes(*(scope for scope in granted if "gift" not in scope and "credit" not in scope))
    await stage.settle()
    terms = {"benefit": benefit, "binding": BINDING[benefit.kind], "code_prefix": ""}
    with pytest.raises(InvalidInputError, match="lacks the permissions for it"):
        await shop.rewards("birthday", **terms)
    # The shop is asked anew at once: nobody waits for a post, or for tomorrow.
    sandbox.oauth.scopes[:] = granted
    sandbox.credit.is_on = False
    if benefit is CREDIT:
        with pytest.raises(InvalidInputError, match="switch it on in the Shopify admin"):
            await shop.rewards("birthday", **terms)
        sandbox.credit.is_on = True
    await shop.rewards("birthday", **terms)
    await stage.tick()
    await all_delivered(shop, sandbox)


async def test_a_plan_without_gift_cards_fails_them_and_a_better_plan_gives_them(stage: Stage) -> None:
    shop, sandbox = await with_reward(stage, CARD)
    sandbox.cards.plan_has_them = False
    await stage.tick()
    assert {code["state"] for code in await shop.codes()} == {"failed"}
    reasons = await stage.rows("SELECT DISTINCT state_reason FROM grants")
    assert "Choose a plan with gift cards" in reasons[0]["state_reason"]
    sandbox.cards.plan_has_them = True
    stage.clock.passes(minutes=MINUTES)
    await shop.reconciles()
    await all_delivered(shop, sandbox)


async def test_amounts_are_in_the_shops_currency_and_within_its_limits(stage: Stage) -> None:
    shop, _ = await opened(stage)
    terms = {"binding": Binding.OPEN, "code_prefix": ""}
    dollars = Benefit(BenefitKind.GIFT_CARD, amount_minor=1_000, currency="USD")
    with pytest.raises(InvalidInputError, match="It sells in EUR"):
        await shop.rewards("birthday", benefit=dollars, **terms)
    much = Benefit(BenefitKind.GIFT_CARD, amount_minor=250_000, currency="EUR")
    with pytest.raises(InvalidInputError, match=r"at most 2000\.00 EUR"):
        await shop.rewards("birthday", benefit=much, **terms)


@BOTH
async def test_an_order_paid_with_it_redeems_nothing_and_verifying_finds_nothing_wrong(
    stage: Stage, benefit: Benefit
) -> None:
    shop, _ = await with_reward(stage, benefit)
    await stage.tick()
    first, *others = await shop.codes()
    by = {"store_credit": True} if benefit is CREDIT else {"gift_card": first["code"]}
    placed = await shop.ask("checkout", customer=first["customer"], subtotal_minor=300, **by)
    assert "error" not in placed
    await stage.settle()
    assert {code["state"] for code in await shop.codes()} == {"delivered"}
    report = await verify_codes(stage.services, shop.store.id)
    assert (report.checked, report.differences) == (1 + len(others), [])


async def test_a_gift_card_that_the_merchant_switched_off_is_told_of_and_not_repaired(stage: Stage) -> None:
    shop, sandbox = await with_reward(stage, CARD)
    await stage.tick()
    first, *_ = await shop.codes()
    card = sandbox.cards.card_of(first["code"])
    assert card is not None
    card.deactivated_at = stage.clock()
    report = await verify_codes(stage.services, shop.store.id, repair=True)
    [found] = report.differences
    assert (found.code, found.difference, found.repaired) == (first["code"], "it is switched off", False)
    assert "not given twice" in (found.refused or "")
    assert len(sandbox.cards.cards) == len(await shop.codes())


async def test_without_the_permission_to_look_verifying_says_so_and_goes_on(stage: Stage) -> None:
    shop, sandbox = await with_reward(stage, CARD)
    await stage.tick()
    sandbox.oauth.scopes[:] = [scope for scope in sandbox.oauth.scopes if "gift" not in scope]
    [found] = (await verify_codes(stage.services, shop.store.id)).differences
    assert "lacks a permission" in (found.refused or "")
    assert "could not be looked up" in found.difference


# -- taking back -----------------------------------------------------------------------------------------------------


@BOTH
async def test_what_is_left_of_a_gift_is_taken_back(stage: Stage, benefit: Benefit) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    await stage.tick()
    first, second, *_ = await shop.codes()
    by = {"store_credit": True} if benefit is CREDIT else {"gift_card": first["code"]}
    placed = await shop.ask("checkout", customer=first["customer"], subtotal_minor=100, **by)
    left = 1_000 - placed["total_minor"]
    (row,) = await stage.rows("SELECT min(id) AS id FROM grants")
    revoked = await revoke_grant(stage.services, row["id"], actor="merchant")
    assert revoked.outcome == f"{left / 100:.2f} of 10.00 EUR were left, and are taken back"
    assert [code["state"] for code in await shop.codes()][:2] == ["revoked", "delivered"]
    assert (await shop.ask("checkout", customer=first["customer"], subtotal_minor=1, **by))["error"]
    again = await revoke_grant(stage.services, row["id"], actor="merchant")
    assert again.outcome == revoked.outcome
    await stage.tick()
    await shop.reconciles()
    assert sorted(given(sandbox)[second["customer"]]) == [1_000]
    events = await stage.rows("SELECT action FROM audit_events WHERE action LIKE 'grant.%%' ORDER BY id")
    assert [event["action"] for event in events] == ["grant.revoked", "grant.taken_back"]


@BOTH
async def test_a_taking_back_whose_answer_is_lost_is_asked_again_and_takes_once(
    stage: Stage, benefit: Benefit
) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    await stage.tick()
    first, *_ = await shop.codes()
    (row,) = await stage.rows("SELECT min(id) AS id FROM grants")
    mutation = "storeCreditAccountDebit" if benefit is CREDIT else "giftCardDeactivate"
    await stage.rows(
        'UPDATE stores SET settings = settings || \'{"patience_seconds": "0"}\' WHERE id = %s RETURNING id',
        shop.store.id,
    )
    sandbox.unanswered[mutation] = 1
    with pytest.raises(RetryLaterError):
        await revoke_grant(stage.services, row["id"], actor="merchant")
    with pytest.raises(RetryLaterError, match="5 minutes"):
        await revoke_grant(stage.services, row["id"], actor="merchant")
    stage.clock.passes(minutes=MINUTES)
    revoked = await revoke_grant(stage.services, row["id"], actor="merchant")
    assert "10.00 of 10.00 EUR" in (revoked.outcome or "")
    if benefit is CREDIT:
        account = sandbox.credit.accounts[first["customer"], "EUR"]
        assert (account.balance_minor, len(account.transactions)) == (0, 2)


async def test_a_gift_that_may_be_on_its_way_is_not_taken_back_yet(stage: Stage) -> None:
    shop, sandbox = await with_reward(stage, CREDIT)
    sandbox.unanswered["storeCreditAccountCredit"] = 1
    await stage.tick()
    (row,) = await stage.rows(
        "SELECT grant_id AS id FROM promotion_codes WHERE asked_at IS NOT NULL ORDER BY 1"
    )
    async with stage.services.database.transaction() as connection:
        shown = {grant.id: grant for grant in await grant_lists.grants_of(connection, shop.store.id)}
    assert "not known yet" in (shown[row["id"]].state_reason or "")
    with pytest.raises(RetryLaterError, match="shown as delivered"):
        await revoke_grant(stage.services, row["id"], actor="merchant")
    stage.clock.passes(minutes=MINUTES)
    await stage.tick()
    await revoke_grant(stage.services, row["id"], actor="merchant")
    assert sandbox.credit.accounts
    assert len(given(sandbox)) == len(await shop.codes())


async def test_what_has_run_out_is_not_taken_back(stage: Stage) -> None:
    shop, _ = await with_reward(stage, CREDIT)
    await stage.tick()
    (row,) = await stage.rows("SELECT min(id) AS id FROM grants")
    stage.clock.passes(days=40)
    with pytest.raises(InvalidInputError, match="run out already"):
        await revoke_grant(stage.services, row["id"], actor="merchant")
    assert (await shop.codes())[0]["state"] == "delivered"


@BOTH
async def test_what_the_shop_does_not_let_us_take_back_stays_given(stage: Stage, benefit: Benefit) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    await stage.tick()
    granted = list(sandbox.oauth.scopes)
    sandbox.oauth.scopes[:] = [
        scope.replace("write_", "read_") if "gift" in scope or "credit" in scope else scope
        for scope in granted
    ]
    (row,) = await stage.rows("SELECT min(id) AS id FROM grants")
    with pytest.raises(RefusedError, match="lacks a permission"):
        await revoke_grant(stage.services, row["id"], actor="merchant")
    await all_delivered(shop, sandbox)
    events = await stage.rows("SELECT action FROM audit_events WHERE action LIKE 'grant.%%' ORDER BY id")
    assert [event["action"] for event in events] == ["grant.revoked", "grant.not_taken_back"]
    sandbox.oauth.scopes[:] = granted
    assert (await revoke_grant(stage.services, row["id"], actor="merchant")).outcome


@BOTH
async def test_a_grant_that_was_not_given_yet_is_taken_back_before_it_is(
    stage: Stage, benefit: Benefit
) -> None:
    shop, sandbox = await with_reward(stage, benefit)
    sandbox.oauth.scopes[:] = [
        scope for scope in sandbox.oauth.scopes if "gift" not in scope and "credit" not in scope
    ]
    await stage.tick()
    first, *_ = await shop.codes()
    await stage.rows(
        "UPDATE promotion_codes SET asked_at = NULL RETURNING id"
    )  # it waits, and was not asked for
    (row,) = await stage.rows("SELECT min(id) AS id FROM grants")
    assert (await revoke_grant(stage.services, row["id"], actor="merchant")).outcome is None
    assert (await shop.codes())[0]["state"] == "revoked"
    assert first["customer"] not in given(sandbox)
