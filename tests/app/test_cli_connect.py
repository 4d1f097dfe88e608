"""Connecting stores: where secrets come from, what is said of wrong ones, and a key that is refused midway."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.stripe import StripeSandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.woocommerce_auth import ApiKey, KeyRing
from sandbox.world import Seed, World
from storage import stores
from storage.database import Database
from tests.app.command_line import CommandLine
from tests.app.conftest import connect_words


async def test_a_store_is_connected_and_read(cli: CommandLine, shop: WooCommerceSandbox) -> None:
    made = await cli.read(*connect_words(shop))
    assert made["is_new"]
    assert made["read"]["customers"] == 120
    assert made["read"]["orders"] == 240
    assert "PERENNIAL_PUBLIC_URL" in made["webhook_note"]
    (store,) = (await cli.read("stores"))["stores"]
    assert (store["id"], store["status"], store["customers"], store["guests"], store["orders"]) == (
        made["store"]["id"],
        "active",
        120,
        shop.world.guests(),
        240,
    )
    assert store["points"] == 0
    again = await cli.read(*connect_words(shop))
    assert not again["is_new"]
    assert again["store"]["id"] == store["id"]


async def test_people_are_told_what_is_known_of_a_store_and_what_was_read(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    said = await cli.said(*connect_words(shop))
    guests = shop.world.guests()
    coupons = len(shop.coupons.by_code)  # other tests have put codes into the same shop
    assert f"120 customers, {guests} guests, 240 orders, {coupons} coupons now. No points have moved." in said
    assert "120 customer records" in await cli.said("sync", "1", "--full")


async def test_settings_stay_until_others_are_given(
    cli: CommandLine, shop: WooCommerceSandbox, database: Database
) -> None:
    async def connected(*more: str) -> dict[str, str]:
        await cli.said(*connect_words(shop), "--no-sync", *more)
        async with database.transaction() as connection:
            return dict((await stores.by_id(connection, 1)).settings)

    first = await connected("--setting", "birthday_key=born", "--setting", "patience_seconds=5")
    assert (first["birthday_key"], first["patience_seconds"]) == ("born", "5")
    assert await connected() == first
    assert await connected("--setting", "birthday_key=birth_date") == first | {"birthday_key": "birth_date"}


async def test_where_nobody_answers_the_way_out_is_to_try_again(cli: CommandLine) -> None:
    words = ("--url", "http://127.0.0.1:1", "--key", "ck_a", "--secret", "cs_a")
    said = await cli.failed("connect", "woocommerce", *words)
    assert said.endswith("or try again later.\n")
    assert "by itself" not in said
    assert (await cli.read("stores"))["stores"] == []


async def test_secrets_come_from_the_environment_and_from_standard_input(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    found = shop.connect_answers()
    words = ("connect", "woocommerce", "--url", found["url"], "--no-sync")
    made = await cli.read(
        *words, "--secret", "-", typed=f"{found['secret']}\n", PERENNIAL_CONNECT_KEY=found["key"]
    )
    assert made["read"] is None
    both = f"{found['key']}\n{found['secret']}\n"
    assert not (await cli.read(*words, "--key", "-", "--secret", "-", typed=both))["is_new"]
    said = await cli.failed(*words, "--key", found["key"], status=2)
    assert "PERENNIAL_CONNECT_SECRET" in said
    said = await cli.failed(*words, "--key", found["key"], "--secret", "-", status=2)
    assert "standard input" in said


async def test_a_wrong_key_stores_nothing_and_does_not_show(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    words = ("connect", "woocommerce", "--url", shop.url, "--key", "ck_hush", "--secret", "cs_hush")
    said = await cli.failed(*words)
    assert said.startswith("Error: ")
    assert len(said.strip().splitlines()) == 1
    assert "hush" not in said
    assert (await cli.read("stores"))["stores"] == []
    assert "begins with ck_" in await cli.failed(*words[:5], "hush", "--secret", "hush")


async def test_private_addresses_need_the_operators_leave(cli: CommandLine, shop: WooCommerceSandbox) -> None:
    said = await cli.failed(*connect_words(shop), PERENNIAL_ALLOW_PRIVATE_HOSTS="0")
    assert "PERENNIAL_ALLOW_PRIVATE_HOSTS" in said


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("sync", "7"), 1, "There is no store 7"),
        (("members", "7"), 1, "There is no store 7"),
        (("activity", "7"), 1, "There is no member 7"),
        (("backfill", "preview", "7"), 1, "There is no store 7"),
        (("backfill", "confirm", "7", "--yes"), 1, "There is no run 7"),
        (("backfill", "undo", "7", "--yes"), 1, "There is no run 7"),
        (("codes", "7"), 1, "There is no store 7"),
        (("coupons", "verify", "7"), 1, "There is no store 7"),
        (("rewards", "list", "7"), 1, "There is no store 7"),
        (("occasions", "run", "--store", "7"), 1, "There is no store 7"),
        (("members", "set", "7", "--birthday", "04-30"), 1, "There is no member 7"),
        (("members", "set", "7", "--birthday", "04-31"), 2, "31 April is no day of the calendar"),
        (("members", "set", "7", "--joined", "2026-02-29"), 2, "YYYY-MM-DD"),
        (("members", "set", "7"), 2, "--birthday or --joined"),
        (("connect", "nowhere"), 2, "No such command"),
        (("connect", "woocommerce", "--key=k", "--secret=s", "--setting", "birthday"), 2, "KEY=VALUE"),
        (("stores", "--xml"), 2, "No such option"),
        (("sync", "first"), 2, "not a valid integer"),
    ],
)
async def test_wrong_input_is_said_in_a_line(
    cli: CommandLine, words: tuple[str, ...], status: int, says: str
) -> None:
    assert says in await cli.failed(*words, status=status, PERENNIAL_CONNECT_URL="https://shop.example")


async def test_a_shop_that_does_not_answer_is_said_with_what_to_do(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    await cli.said(*connect_words(shop), "--no-sync", "--setting", "patience_seconds=0")
    shop.faults.server_errors = 1_000
    try:
        said = await cli.failed("sync", "1")
    finally:
        shop.faults.server_errors = 0
    assert "`perennial sync 1` goes on from there" in said
    assert (await cli.read("sync", "1"))["read"]["orders"] == 240


async def test_a_program_that_does_not_exist_is_not_joined(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    said = await cli.failed(*connect_words(shop), "--program", "99")
    assert "There is no program 99" in said
    assert (await cli.read("stores"))["stores"] == []


async def test_a_key_refused_midway_pauses_the_store_until_a_new_key_comes(cli: CommandLine) -> None:
    world = World(Seed(number=8, customers=800, orders=2_400))
    async with WooCommerceSandbox(world) as sandbox:
        await cli.said(*connect_words(sandbox), "--no-sync")
        sandbox.faults.delay_seconds = 0.1
        before = sandbox.requests
        async with cli.started("sync", "1") as process, asyncio.timeout(30):
            while sandbox.requests < before + 12:  # noqa: ASYNC110  the shop has no event for it
                await asyncio.sleep(0.005)
            sandbox.faults.refuse_credentials = True
            out, err = await process.communicate()
        assert process.returncode == 1
        assert out == b""
        assert len(err.decode().strip().splitlines()) == 1
        (store,) = (await cli.read("stores"))["stores"]
        assert store["status"] == "paused"
        assert store["status_reason"] in await cli.said("stores")
        assert store["orders"] < 2_400
        assert "Store 1 is paused" in await cli.failed("sync", "1")

        sandbox.faults.refuse_credentials = False
        sandbox.faults.delay_seconds = 0.0
        sandbox.read_write = ApiKey("ck_" + "7" * 40, "cs_" + "7" * 40)
        sandbox.keys = KeyRing((sandbox.read_write,), sandbox.host)
        made = await cli.read(*connect_words(sandbox))
        assert not made["is_new"]
        (store,) = (await cli.read("stores"))["stores"]
        assert (store["status"], store["status_reason"]) == ("active", None)
        assert (store["customers"], store["orders"]) == (800, 2_400)
        actions = [event["action"] for event in (await cli.read("audit", "1"))["events"]]
        assert actions == ["store.reconnected", "store.paused", "store.connected"]


async def test_a_server_that_the_operator_names_may_be_near_us(cli: CommandLine) -> None:
    async with StripeSandbox(World(Seed(number=8, customers=5, orders=10))) as sandbox:
        answers = sandbox.connect_answers()
        words = ("--api-key", answers["api-key"], "--api-base", answers["api-base"], "--no-sync")
        await cli.said("connect", "stripe", *words, PERENNIAL_ALLOW_PRIVATE_HOSTS="0")
        await cli.said("sync", "1", PERENNIAL_ALLOW_PRIVATE_HOSTS="0")
    (store,) = (await cli.read("stores"))["stores"]
    assert store["orders"] == 10


async def test_a_shop_that_moved_is_the_same_store_and_that_is_said(cli: CommandLine) -> None:
    async with WooCommerceSandbox(World(Seed(number=6, customers=5, orders=5))) as sandbox:
        words = list(connect_words(sandbox))
        await cli.said(*words)
        new = sandbox.url.replace("127.0.0.1", "localhost")
        sandbox.move_to(new)
        refused = await cli.run("sync", "1")
        assert f"moved to another address ({new.split('/')[2].split(':')[0]})" in refused.err
        words[words.index("--url") + 1] = new
        wrong = await cli.run(*words, "--moved-from", "7")
        assert (wrong.status, "There is no store 7" in wrong.err) == (1, True)
        said = await cli.said(*words)
        assert f"It was at {sandbox.url} before: its members, points and codes came along." in said
        (store,) = (await cli.read("stores"))["stores"]
        assert (store["id"], store["external_id"], store["orders"]) == (1, new, 5)


async def test_a_firewall_that_turns_scripts_away_lets_us_in(cli: CommandLine) -> None:
    async with WooCommerceSandbox(World(Seed(number=6, customers=5, orders=5))) as sandbox:
        sandbox.host.turns_scripts_away = True
        assert (await cli.read(*connect_words(sandbox)))["read"]["orders"] == 5
