"""Points for past actions as a merchant meets them: on the command line, over a shop's own history."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import EarningRule
from tests.app.command_line import CommandLine

FIXED = EarningRule(sign_up=100, order_fixed=200)


async def _fixed_points(merchant: CommandLine) -> None:
    await merchant.said("ways", "set", "1", "sign_up", "--points", "100")
    await merchant.said("ways", "set", "1", "place_order", "--points", "200", "--fixed")


async def _members(merchant: CommandLine) -> list[dict[str, Any]]:
    found = await merchant.read("members", "1")
    members: list[dict[str, Any]] = found["members"]
    return members


async def _run(merchant: CommandLine) -> dict[str, Any]:
    previewed = await merchant.read("backfill", "preview", "1")
    done: dict[str, Any] = await merchant.read("backfill", "confirm", str(previewed["run"]), "--yes")
    assert done["awarded"]["points"] == previewed["points"]
    return done


@pytest.mark.feature("B-01", "B-02", "B-03", "B-04", "B-11", "R-01", "R-02", "R-03", "R-04", "R-05", "R-15")
async def test_an_account_and_one_order_from_before_come_to_300_points(
    merchant: CommandLine, shop: WooCommerceSandbox
) -> None:
    await _fixed_points(merchant)
    done = await _run(merchant)
    assert done["awarded"]["points"] == shop.world.expected_points(FIXED)
    orders: dict[str, int] = {}
    for sale in shop.world.sales:
        # Bought once, paid, kept: what a plain customer does.
        is_plain = sale.paid_at and not sale.cancelled_at and not sale.repayments
        orders[sale.person.email] = orders.get(sale.person.email, 0) + (1 if is_plain else 100)
    members = {member["email"]: member for member in await _members(merchant)}
    plain = [
        members[person.email]
        for person in shop.world.people
        if not person.is_guest and orders.get(person.email) == 1
    ]
    assert plain
    assert {member["balance"] for member in plain} == {300}
    activity = await merchant.read("activity", str(plain[0]["id"]))
    assert sorted((line["reason"], line["points"], line["run_id"]) for line in activity["entries"]) == [
        ("order", 200, done["run"]),
        ("sign_up", 100, done["run"]),
    ]
    (order,) = (line["order"] for line in activity["entries"] if line["reason"] == "order")
    assert f"order    {order}" in re.sub(" +", "    ", await merchant.said("activity", str(plain[0]["id"])))
    assert activity["entries"][-1]["balance_after"] == 300


@pytest.mark.feature("B-08", "B-09", "R-12", "R-13")
async def test_members_get_both_and_guests_only_what_their_orders_earn(
    merchant: CommandLine, shop: WooCommerceSandbox
) -> None:
    await _fixed_points(merchant)
    previewed = await merchant.read("backfill", "preview", "1")
    assert previewed["ways"]["sign_up"]["customers"] == 120
    assert 0 < previewed["ways"]["place_order"]["guests"] <= shop.world.guests()
    await merchant.said("backfill", "confirm", str(previewed["run"]), "--yes")
    sign_ups = {"account": 0, "guest": 0}
    members = await _members(merchant)
    assert sum(member["balance"] for member in members) == previewed["points"]
    by_kind = {kind: [m for m in members if m["kind"] == kind and m["balance"]][:2] for kind in sign_ups}
    for kind, some in by_kind.items():
        assert some
        for member in some:
            entries = (await merchant.read("activity", str(member["id"])))["entries"]
            sign_ups[kind] += sum(line["reason"] == "sign_up" for line in entries)
    assert sign_ups == {"account": 2, "guest": 0}


@pytest.mark.feature("B-06", "B-17", "R-09", "R-11", "R-19")
async def test_sign_ups_alone_when_orders_are_disabled_and_by_the_points_of_now(
    merchant: CommandLine,
) -> None:
    await merchant.said("ways", "set", "1", "place_order", "--disable")
    await merchant.said("ways", "set", "1", "sign_up", "--points", "70")
    done = await _run(merchant)
    assert done["awarded"] == {"entries": 120, "points": 120 * 70}
    assert "place_order" not in done["ways"]
    assert "switched off" in await merchant.said("backfill", "preview", "1")


@pytest.mark.feature("B-05", "R-10")
async def test_there_is_no_other_way_to_earn_for_the_past(merchant: CommandLine) -> None:
    said = await merchant.failed("ways", "set", "1", "birthday", "--points", "5", status=2)
    assert "sign_up" in said
    assert "place_order" in said
    assert set((await merchant.read("backfill", "preview", "1"))["ways"]) == {"sign_up", "place_order"}


@pytest.mark.feature("B-07", "R-16")
@pytest.mark.parametrize("switch", ["on", "off"])
async def test_the_run_succeeds_whether_the_program_is_on_or_off(merchant: CommandLine, switch: str) -> None:
    said = await merchant.read("program", switch, "1")
    assert said["program"]["is_on"] is (switch == "on")
    assert (await _run(merchant))["awarded"]["points"] > 0


@pytest.mark.feature("B-13", "R-07")
async def test_nothing_happens_until_the_question_is_answered_with_yes(merchant: CommandLine) -> None:
    run = str((await merchant.read("backfill", "preview", "1"))["run"])
    for typed in ("n\n", "\n", ""):
        said = await merchant.failed("backfill", "confirm", run, typed=typed)
        assert "Continue?" in said
        assert "Nothing was done" in said
    assert (await merchant.read("stores"))["stores"][0]["points"] == 0
    said = await merchant.said("backfill", "confirm", run, typed="y\n")
    assert "as previewed" in said
    assert (await merchant.read("stores"))["stores"][0]["points"] > 0
    assert "make a new preview" in await merchant.failed("backfill", "confirm", run, "--yes")


async def test_a_run_is_undone_as_one_batch_and_can_be_made_again(merchant: CommandLine) -> None:
    done = await _run(merchant)
    run, points = str(done["run"]), done["awarded"]["points"]
    said = await merchant.failed("backfill", "undo", run, typed="n\n")
    assert f"{points:,} points will be taken back" in said
    await merchant.said("backfill", "undo", run, typed="y\n")
    assert {member["balance"] for member in await _members(merchant)} == {0}
    assert "undone before" in await merchant.failed("backfill", "undo", run, "--yes")
    states = [found["state"] for found in (await merchant.read("backfill", "status", "1"))["runs"]]
    assert states == ["undone"]
    assert (await _run(merchant))["awarded"]["points"] == points
    assert (await merchant.read("backfill", "preview", "1"))["points"] == 0


async def test_changed_rules_want_a_new_preview(merchant: CommandLine) -> None:
    run = str((await merchant.read("backfill", "preview", "1"))["run"])
    await merchant.said("ways", "set", "1", "place_order", "--points", "1", "--per", "2.00")
    assert "make a new one" in await merchant.failed("backfill", "confirm", run, "--yes")
    found = await merchant.read("ways", "1")
    (way,) = (way for way in found["ways"] if way["kind"] == "place_order")
    assert (way["points"], way["per_minor"], way["version"]) == (1, 200, 2)


async def test_a_preview_says_who_is_left_out_and_why(
    merchant: CommandLine, shop: WooCommerceSandbox
) -> None:
    unpaid = sum(1 for sale in shop.world.sales if not sale.paid_at)
    said = await merchant.said("backfill", "preview", "1")
    assert re.search(rf"orders +not paid +{unpaid}\n", said)
    previewed = json.loads(await merchant.said("backfill", "preview", "1", "--json"))
    assert previewed["ways"]["place_order"]["unpaid"] == unpaid > 0
    assert f"{previewed['points']:,} points in all." in said
