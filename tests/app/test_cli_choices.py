"""What a merchant chooses for rewards, for a store, and in answer to people, by the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from sandbox.woocommerce import WooCommerceSandbox
from tests.app.command_line import CommandLine

ADD = ("rewards", "add", "1", "--trigger", "birthday", "--name", "Gift")


async def test_the_terms_of_a_reward_are_said_shown_and_changed(merchant: CommandLine) -> None:
    words = ("--percent", "10", "--product", "7", "--product", "8", "--binding", "open", "--combines")
    made = await merchant.read(*ADD, *words)
    assert (made["binding"], made["combines"], made["coupon_id"]) == ("open", True, None)
    assert made["benefit"]["product_external_ids"] == ["7", "8"]
    (listed,) = (await merchant.read("rewards", "list", "1"))["rewards"]
    assert listed == {name: value for name, value in made.items() if name != "notes"}
    said = await merchant.said("rewards", "list", "1")
    assert "10 % off on 7, 8" in said
    assert "whoever holds it, combines" in said
    changed = await merchant.read(
        "rewards", "change", "1", "1", "--binding", "bound", "--alone", "--all-products"
    )
    assert (changed["version"], changed["binding"], changed["combines"]) == (2, "bound", False)
    assert changed["benefit"]["product_external_ids"] == []
    same = await merchant.read("rewards", "change", "1", "1", "--percent", "10")
    assert same["version"] == 2
    free = await merchant.read("rewards", "change", "1", "1", "--free-product", "--product", "7")
    assert (free["benefit"]["kind"], free["benefit"]["product_external_ids"]) == ("free_product", ["7"])
    back = await merchant.read("rewards", "change", "1", "1", "--percent", "5")
    assert back["benefit"]["product_external_ids"] == [], "the gift's products are no limit of a percentage"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--free-product",), "--product ID"),
        (("--free-shipping", "--product", "7"), "whole order"),
        (("--percent", "10", "--coupon", "x"), "There is no coupon|no coupon x"),
        (("--percent", "10", "--product", "7", "--product", "7"), "twice"),
        (("--amount", "5.005"), "EUR has 2 decimals"),
        (("--percent", "10", "--minimum", "20.001"), "EUR has 2 decimals"),
    ],
)
async def test_terms_that_cannot_be_meant_are_refused(
    merchant: CommandLine, words: tuple[str, ...], says: str
) -> None:
    done = await merchant.run(*ADD, *words)
    assert done.status in (1, 2)
    assert any(one in done.err for one in says.split("|"))
    assert (await merchant.read("rewards", "list", "1"))["rewards"] == []


async def test_a_reward_for_a_product_that_the_store_does_not_have_is_not_made(merchant: CommandLine) -> None:
    done = await merchant.run(*ADD, "--percent", "10", "--product", "7", "--product", "999")
    assert done.status == 1
    assert "has no product 999: look up the number there" in done.err
    assert (await merchant.read("rewards", "list", "1"))["rewards"] == []
    await merchant.read(*ADD, "--percent", "10", "--product", "7")
    done = await merchant.run("rewards", "change", "1", "1", "--free-product", "--product", "888")
    assert "no product 888" in done.err
    (kept,) = (await merchant.read("rewards", "list", "1"))["rewards"]
    assert (kept["version"], kept["benefit"]["product_external_ids"]) == (1, ["7"])


async def test_adding_a_reward_says_what_the_choice_means_in_the_store(merchant: CommandLine) -> None:
    bound = await merchant.read(*ADD, "--percent", "10")
    opened = await merchant.read(*ADD, "--percent", "10", "--binding", "open")
    ((bound_note,), (open_note,)) = bound["notes"], opened["notes"]
    assert bound_note["note"] != open_note["note"]
    assert not bound_note["is_left_out"]
    said = " ".join((await merchant.said(*ADD, "--percent", "10", "--binding", "open")).split())
    assert " ".join(open_note["note"].split()) in said


async def test_a_coupon_of_the_store_becomes_a_reward(
    merchant: CommandLine, shop: WooCommerceSandbox
) -> None:
    listed = (await merchant.read("coupons", "1"))["coupons"]
    usable = next(one for one in listed if one["is_active"] and one["code"] and one["ends_at"] is None)
    made = await merchant.read(*ADD, "--coupon", usable["code"].upper())
    assert made["binding"] == "open"
    assert "the store's coupon" in await merchant.said("rewards", "list", "1")
    before = shop.codes_in_store()
    done = await merchant.read("occasions", "run")
    assert done["grants"] > 0
    assert done["stores"] == []
    assert shop.codes_in_store() == before
    codes = (await merchant.read("codes", "1"))["codes"]
    assert {(code["code"], code["state"]) for code in codes} == {(usable["code"], "pushed")}
    assert "change it in the store" in await merchant.failed(
        "rewards", "change", "1", "1", "--minimum", "5", status=2
    )
    assert "perennial coupons 1" in await merchant.failed(*ADD, "--coupon", "NO-SUCH-COUPON")
    own = await merchant.read("rewards", "change", "1", "1", "--percent", "5")
    assert (own["coupon_id"], own["binding"]) == (None, "bound")
    assert (await merchant.read("coupons", "verify", "1"))["differences"] == []


async def test_a_grant_is_taken_back(merchant: CommandLine, shop: WooCommerceSandbox) -> None:
    await merchant.said(*ADD, "--percent", "10", "--prefix", "back")
    await merchant.said("occasions", "run")
    code, *others = (await merchant.read("codes", "1"))["codes"]
    done = await merchant.read("codes", "revoke", str(code["id"]))
    assert done == {"grant": code["id"], "code": code["code"], "state": "revoked"}
    assert [one["id"] for one in (await merchant.read("codes", "1", "--state", "revoked"))["codes"]] == [
        code["id"]
    ]
    assert code["code"].lower() not in shop.coupons.by_code
    assert (await merchant.read("coupons", "verify", "1"))["checked"] == len(others)
    assert "There is no grant 99999" in await merchant.failed("codes", "revoke", "99999")


async def test_a_stores_settings_are_shown_and_changed(merchant: CommandLine) -> None:
    before = (await merchant.read("settings", "1"))["settings"]
    after = (
        await merchant.read("settings", "1", "--returns", "on_full_refund", "--set", "birthday_key=born")
    )["settings"]
    assert after == {**before, "returns": "on_full_refund", "birthday_key": "born"}
    said = await merchant.said("settings", "1")
    assert "on_full_refund" in said
    assert "After a full refund we make a new code." in said
    assert "on_cancel" in await merchant.failed("settings", "1", "--set", "returns=maybe", status=2)
    wrong = await merchant.failed("settings", "1", "--set", "birthday_format=whenever")
    assert "birthday_format" in wrong
    assert "KEY=VALUE" in await merchant.failed("settings", "1", "--set", "returns", status=2)
    assert (await merchant.read("settings", "1"))["settings"] == after
    events = (await merchant.read("audit", "1"))["events"]
    assert [event["action"] for event in events].count("store.settings_changed") == 1
    assert "sync 1 --full" in await merchant.said("settings", "1", "--set", "birthday_key=born")


async def test_what_is_held_about_a_person_is_written_for_them_alone(
    merchant: CommandLine, tmp_path: Path
) -> None:
    assert "Nobody asked" in await merchant.said("privacy", "1")
    member = (await merchant.read("members", "1", "--limit", "1"))["members"][0]
    (number,) = (await merchant.read("privacy", "ask", str(member["id"])))["requests"]
    (request,) = (await merchant.read("privacy", "1"))["requests"]
    assert (request["id"], request["kind"], request["done_at"]) == (number, "export", None)
    path = tmp_path / "person.json"
    await merchant.said("privacy", "export", str(request["id"]), "--to", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    held = json.loads(path.read_text(encoding="utf-8"))
    assert [person["email"] for person in held["customers"]] == [member["email"]]
    assert {"members", "orders", "points", "rewards", "coupons"} <= held.keys()
    assert "name a new file" in await merchant.failed(
        "privacy", "export", str(request["id"]), "--to", str(path)
    )
    assert (await merchant.read("privacy", "1"))["requests"][0]["done_at"] is not None
    missing = tmp_path / "missing" / "person.json"
    assert "cannot be written" in await merchant.failed(
        "privacy", "export", str(request["id"]), "--to", str(missing)
    )
    assert "There is no request 99" in await merchant.failed("privacy", "export", "99", "--to", str(missing))


async def test_a_member_is_erased_on_request_and_points_stay(merchant: CommandLine) -> None:
    run = await merchant.read("backfill", "preview", "1")
    await merchant.said("backfill", "confirm", str(run["run"]), "--yes")
    member = max((await merchant.read("members", "1"))["members"], key=lambda one: one["balance"])
    number = str(member["id"])
    assert "Nothing was done" in await merchant.failed("privacy", "erase", number, typed="n\n")
    said = await merchant.said("privacy", "erase", number, "--yes")
    assert "Delete them in" in said
    after = (await merchant.read("activity", number))["member"]
    assert (after["name"], after["email"], after["birthday"], after["joined_on"]) == (None, None, None, None)
    assert after["balance"] == member["balance"] > 0
    assert (await merchant.read("members", "1", "--search", member["email"]))["members"] == []
