"""Rewards, the codes that come of them, and what the store then holds, by the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import Seed, World
from tests.app.command_line import CommandLine
from tests.app.conftest import connect_words

GIFT = ("rewards", "add", "1", "--name", "Birthday gift", "--trigger", "birthday", "--percent", "7.5")


@pytest.fixture
async def bakery() -> AsyncIterator[WooCommerceSandbox]:
    """A shop of this test's own, in which several people have their birthday today."""
    async with WooCommerceSandbox(
        World(Seed(number=6, customers=120, orders=60, birthday_share=1.0))
    ) as sandbox:
        yield sandbox


async def _ask(sandbox: WooCommerceSandbox, control: str, **body: object) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sandbox.url}/_sandbox/{control}", json=body) as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


async def test_from_reward_to_redeemed_code(cli: CommandLine, bakery: WooCommerceSandbox) -> None:
    await cli.said(*connect_words(bakery))
    reward = await cli.read(*GIFT, "--lead-days", "7", "--minimum", "20.00", "--prefix", "bday")
    assert reward["benefit"]["basis_points"] == 750
    due = {person.email for person in bakery.world.birthdays_due(bakery.world.seed.today, 7)}
    done = await cli.read("occasions", "run")
    assert done["grants"] == len(due) > 0
    assert done["stores"] == [{"store": 1, "pushed": len(due), "failed": 0, "waiting": 0, "problem": None}]
    assert bakery.codes_in_store() == len(due)
    assert (await cli.read("occasions", "run"))["grants"] == 0

    codes = (await cli.read("codes", "1"))["codes"]
    assert {code["member_email"] for code in codes} == due
    assert {(code["state"], code["code"][:5]) for code in codes} == {("pushed", "BDAY-")}
    first = codes[0]
    basket = {"email": first["member_email"], "subtotal_minor": 5_000, "code": first["code"]}
    placed = await _ask(bakery, "checkout", **basket)
    assert placed["discount_minor"] == 375
    await cli.said("sync", "1")
    found = await cli.read("codes", "1", "--state", "redeemed")
    assert [(code["code"], code["redeemed_order"]) for code in found["codes"]] == [
        (first["code"], str(placed["order"]))
    ]
    assert f"used by order {placed['order']}" in await cli.said("codes", "1")


async def test_codes_are_verified_and_repaired(cli: CommandLine, bakery: WooCommerceSandbox) -> None:
    await cli.said(*connect_words(bakery))
    await cli.said(*GIFT)
    await cli.said("occasions", "run")
    whole = await cli.read("coupons", "verify", "1")
    assert whole["checked"] > 0
    assert whole["differences"] == []
    assert "All are as they should be" in await cli.said("coupons", "verify", "1")
    code = (await cli.read("codes", "1"))["codes"][0]["code"]
    coupon = bakery.coupons.by_code[code.lower()]
    coupon.fields["amount"] = "50.00"
    (difference,) = (await cli.read("coupons", "verify", "1"))["differences"]
    assert difference["code"] == code
    assert "--repair" in await cli.said("coupons", "verify", "1")
    repaired = await cli.read("coupons", "verify", "1", "--repair")
    assert repaired["repaired"] == 1
    assert (await cli.read("coupons", "verify", "1"))["differences"] == []
    assert (await cli.read("reconcile", "1"))["differences"] == []
    ours = [coupon for coupon in (await cli.read("coupons", "1"))["coupons"] if coupon["is_ours"]]
    assert {coupon["code"] for coupon in ours} >= {code.lower()}


@pytest.mark.feature("P-06", "P-15")
async def test_dates_set_by_hand_bring_the_reward(merchant: CommandLine, shop: WooCommerceSandbox) -> None:
    today = shop.world.seed.today
    far = [
        person
        for person in shop.world.people
        if person.birthday and (person.birthday[0] - today.month) % 12 in (3, 4, 5, 6, 7, 8)
    ]
    (member,) = (await merchant.read("members", "1", "--search", far[0].email.upper()))["members"]
    await merchant.said(*GIFT)
    await merchant.said("occasions", "run")
    assert member["id"] not in [code["member_id"] for code in (await merchant.read("codes", "1"))["codes"]]
    said = await merchant.read(
        "members", "set", str(member["id"]), "--birthday", f"{today:%m-%d}", "--joined", "2019-02-28"
    )
    assert (said["birthday"], said["birthday_set_by"], said["joined_on"]) == (
        f"{today:%m-%d}",
        "merchant",
        "2019-02-28",
    )
    await merchant.said("occasions", "run")
    assert member["id"] in [code["member_id"] for code in (await merchant.read("codes", "1"))["codes"]]
    assert "lies in the future" in await merchant.failed(
        "members", "set", str(member["id"]), "--joined", "2190-01-01"
    )
    # The store's word no longer changes what was set by hand.
    await merchant.said("sync", "1", "--full")
    (member,) = (await merchant.read("members", "1", "--search", far[0].email))["members"]
    assert (member["birthday"], member["joined_on"]) == (f"{today:%m-%d}", "2019-02-28")


async def test_rewards_are_changed_and_switched(merchant: CommandLine) -> None:
    await merchant.said(*GIFT, "--minimum", "20.00")
    changed = await merchant.read("rewards", "change", "1", "1", "--amount", "5.00", "--lead-days", "3")
    assert changed["version"] == 2
    assert changed["benefit"] == {
        "kind": "amount",
        "basis_points": None,
        "amount_minor": 500,
        "currency": "EUR",
        "minimum_minor": 2000,
        "product_external_ids": [],
        "collection_external_ids": [],
        "first_time_only": False,
    }
    assert (await merchant.read("rewards", "off", "1", "1"))["is_on"] is False
    assert (await merchant.read("occasions", "run"))["grants"] == 0
    assert "5.00 EUR off from 20.00 EUR" in await merchant.said("rewards", "list", "1")
    for words, status, says in (
        (
            ("rewards", "add", "1", "--name", "x", "--trigger", "birthday"),
            2,
            "--free-product, --store-credit, --gift-card or --coupon",
        ),
        ((*GIFT, "--amount", "5"), 2, "one of"),
        (("rewards", "add", "1", "--name", "x", "--trigger", "easter", "--percent", "5"), 2, "birthday"),
        (
            ("rewards", "add", "1", "--name", "x", "--trigger", "joining", "--percent", "ten"),
            2,
            "a number like",
        ),
        (
            ("rewards", "add", "1", "--name", "x", "--trigger", "joining", "--percent", "101"),
            2,
            "at most 100",
        ),
        ((*GIFT, "--lead-days", "900"), 2, "0 to 90 days"),
        (("ways", "set", "1", "place_order", "--points", "5", "--per", "1,00"), 2, "write it like 12.50"),
        (("ways", "set", "1", "sign_up", "--points", "9" * 20), 2, "at most 1,000,000"),
        (("occasions", "run", "--date", "9999-12-31"), 1, "within 10 years"),
        (("rewards", "off", "1", "77"), 1, "There is no reward 77"),
    ):
        assert says in await merchant.failed(*words, status=status)


async def test_a_store_in_trouble_is_said_and_the_codes_wait(
    merchant: CommandLine, shop: WooCommerceSandbox
) -> None:
    await merchant.said(*GIFT)
    shop.faults.refuse_credentials = True
    try:
        done = await merchant.run("occasions", "run")
    finally:
        shop.faults.refuse_credentials = False
    assert done.status == 1
    assert "codes wait: " in done.out
    (store,) = (await merchant.read("stores"))["stores"]
    assert store["status"] == "paused"
    assert set((await merchant.read("codes", "1"))["states"]) == {"decided"}


async def test_reconcile_says_how_the_webhooks_are_and_sets_them_up_again(
    cli: CommandLine, bakery: WooCommerceSandbox
) -> None:
    await cli.said(*connect_words(bakery))
    assert (await cli.read("reconcile", "1"))["webhooks"] == "not_set_up"
    await cli.said(*connect_words(bakery), PERENNIAL_PUBLIC_URL="http://127.0.0.1:9")
    assert "Webhooks are on." in await cli.said("reconcile", "1")
    bakery.give_up_webhooks()
    assert "they are set up again" in await cli.said("reconcile", "1")
    found = await cli.read("reconcile", "1")
    assert found["webhooks"] == "on"
    # Nobody listens there, so the shop's ping never came.
    assert "no call of its has reached http://127.0.0.1:9," in found["webhooks_note"]
