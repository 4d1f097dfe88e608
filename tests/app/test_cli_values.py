"""Store credit and gift cards as rewards, by the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.shopify import ShopifySandbox
from sandbox.world import Seed, World
from tests.app.command_line import CommandLine

ADD = ("rewards", "add", "1", "--trigger", "birthday", "--name", "Gift")


@pytest.fixture
async def boutique() -> AsyncIterator[ShopifySandbox]:
    """A shop in which several people have their birthday today."""
    async with ShopifySandbox(World(Seed(number=9, customers=90, orders=30, birthday_share=1.0))) as sandbox:
        assert isinstance(sandbox, ShopifySandbox)
        sandbox.limiter_on = False
        yield sandbox


@pytest.fixture
async def owner(cli: CommandLine, boutique: ShopifySandbox) -> CommandLine:
    """Perennial with that shop as store 1."""
    words = [word for flag, value in boutique.connect_answers().items() for word in (f"--{flag}", value)]
    await cli.said("connect", "shopify", *words)
    return cli


async def test_store_credit_is_given_shown_as_delivered_and_taken_back(
    owner: CommandLine, boutique: ShopifySandbox
) -> None:
    made = await owner.read(*ADD, "--store-credit", "10")
    assert (made["benefit"]["kind"], made["benefit"]["amount_minor"]) == ("store_credit", 1_000)
    assert (made["binding"], made["code_prefix"]) == ("bound", "")
    [note] = made["notes"]
    assert "tell_customers" in note["note"]
    assert "10.00 EUR store credit" in await owner.said("rewards", "list", "1")
    run = await owner.read("occasions", "run")
    [pushed] = run["stores"]
    assert run["grants"] == pushed["pushed"] > 0
    found = await owner.read("codes", "1", "--state", "delivered")
    assert found["states"] == {"delivered": run["grants"]}
    assert {code["code"] for code in found["codes"]} == {None}
    said = await owner.said("codes", "1")
    assert "store credit" in said
    assert "delivered" in said
    assert (await owner.read("coupons", "verify", "1"))["checked"] == run["grants"]
    number = str(found["codes"][0]["id"])
    done = await owner.read("codes", "revoke", number)
    assert done["outcome"] == "10.00 of 10.00 EUR were left, and are taken back"
    assert done["outcome"] in await owner.said("codes", "1", "--state", "revoked")
    [left] = [one for one in boutique.credit.accounts.values() if not one.balance_minor]
    assert len(left.transactions) == 2


async def test_gift_cards_have_codes_and_a_reward_changes_its_kind(
    owner: CommandLine, boutique: ShopifySandbox
) -> None:
    await owner.read(*ADD, "--percent", "10", "--prefix", "bday", "--combines", "--minimum", "20")
    made = await owner.read("rewards", "change", "1", "1", "--gift-card", "12.50")
    assert (made["binding"], made["code_prefix"], made["combines"]) == ("open", "", False)
    assert (made["benefit"]["kind"], made["benefit"]["minimum_minor"]) == ("gift_card", None)
    await owner.read("occasions", "run")
    codes = (await owner.read("codes", "1"))["codes"]
    assert {code["code"].lower() for code in codes} == {card.code for card in boutique.cards.cards.values()}
    assert {len(code["code"]) for code in codes} == {16}
    back = await owner.read("rewards", "change", "1", "1", "--percent", "5")
    assert (back["binding"], back["benefit"]["kind"]) == ("bound", "percentage")
    credit = await owner.read("rewards", "change", "1", "1", "--store-credit", "3")
    same = await owner.read("rewards", "change", "1", "1", "--valid-days", "60")
    assert (same["benefit"], same["validity_days"]) == (credit["benefit"], 60)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--store-credit", "10", "--gift-card", "10"), "one of"),
        (("--store-credit", "0"), "more than 0"),
        (("--store-credit", "ten"), "decimal number"),
        (("--store-credit", "10", "--minimum", "50"), "leave --minimum"),
        (("--gift-card", "10", "--product", "8000000001"), "--product"),
        (("--gift-card", "10", "--first-time"), "leave --first-time"),
        (("--gift-card", "10", "--combines"), "--combines out"),
        (("--gift-card", "10", "--binding", "bound"), "leave --binding out"),
        (("--store-credit", "10", "--binding", "open"), "leave --binding out"),
        (("--store-credit", "10", "--prefix", "bday"), "leave --prefix out"),
        (("--gift-card", "2500"), "at most 2000.00 EUR"),
    ],
)
async def test_what_cannot_be_meant_or_given_is_refused(
    owner: CommandLine, words: tuple[str, ...], says: str
) -> None:
    done = await owner.run(*ADD, *words)
    assert done.status in (1, 2)
    assert says in " ".join(done.err.split())
    assert (await owner.read("rewards", "list", "1"))["rewards"] == []


async def test_a_shop_that_cannot_give_it_yet_says_what_to_do(
    owner: CommandLine, boutique: ShopifySandbox
) -> None:
    boutique.oauth.scopes.remove("write_gift_cards")
    boutique.credit.is_on = False
    await owner.read("reconcile", "1")
    assert "write_gift_cards" in await owner.failed(*ADD, "--gift-card", "10")
    assert "Settings, Customer accounts" in await owner.failed(*ADD, "--store-credit", "10")
    boutique.credit.is_on = True
    await owner.read(*ADD, "--store-credit", "10")
    assert "nobody gets it" not in await owner.said("rewards", "list", "1")
    boutique.credit.is_on = False
    await owner.read("reconcile", "1")
    said = " ".join((await owner.said("rewards", "list", "1")).split())
    assert "Gift: nobody gets it in" in said
    assert "Settings, Customer accounts" in said
    [run] = (await owner.read("occasions", "run"))["rewards"]
    assert "Settings, Customer accounts" in run["left_out"]


async def test_whether_customers_are_told_is_a_setting_that_is_on_or_off(
    owner: CommandLine, boutique: ShopifySandbox
) -> None:
    said = await owner.failed("settings", "1", "--set", "tell_customers=maybe")
    assert "on or off" in said
    await owner.read("settings", "1", "--set", "tell_customers=off")
    await owner.read(*ADD, "--gift-card", "10")
    await owner.read("occasions", "run")
    assert {card.sent_at for card in boutique.cards.cards.values()} == {None}


async def test_another_platform_says_that_it_has_no_such_thing(merchant: CommandLine) -> None:
    assert "no gift cards" in await merchant.failed(*ADD, "--gift-card", "10")
    assert "no store credit" in await merchant.failed(*ADD, "--store-credit", "10")
