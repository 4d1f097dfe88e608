"""Running the app: `serve`, `worker`, `migrate`, `doctor`, and work that is left to workers."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from sandbox.woocommerce import WooCommerceSandbox
from tests.app.command_line import CommandLine
from tests.app.conftest import command_line, connect_words
from tests.conftest import DatabaseServer

SECONDS = 40


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(SECONDS):
        return (await process.stderr.readline()).decode()


async def _address(process: asyncio.subprocess.Process) -> str:
    found = re.search(r"http://\S+:\d+", await _line(process))
    assert found
    return found[0]


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(SECONDS):
        while not await holds():  # noqa: ASYNC110  what changes is in another process
            await asyncio.sleep(0.2)


async def _ends(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    process.send_signal(number)
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out == b""
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_answers_and_ends_cleanly(cli: CommandLine, number: signal.Signals) -> None:
    async with cli.started("serve", "--port", "0") as process, aiohttp.ClientSession() as session:
        address = await _address(process)
        async with session.get(f"{address}/healthz") as answer:
            assert answer.status == 200
            assert (await answer.json())["ok"] is True
        async with session.get(address) as answer:
            assert "Perennial" in await answer.text()
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        async with session.post(f"{address}/webhooks/nowhere/token", data=b"{}") as answer:
            assert answer.status == 404
        taken = await cli.failed("serve", "--port", address.rpartition(":")[2])
        assert "choose another with --port" in taken
        await _ends(process, number)


async def test_webhooks_come_to_the_served_address_and_are_worked_on(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    async with cli.started("serve", "--port", "0") as process:
        address = await _address(process)
        made = await cli.read(*connect_words(shop), PERENNIAL_PUBLIC_URL=address)
        assert made["webhook_address"].startswith(f"{address}/webhooks/")
        assert (await cli.read("earning", "on", "1"))["earning_from"]
        person = next(person for person in shop.world.people if not person.is_guest)
        (before,) = (await cli.read("members", "1", "--search", person.email))["members"]
        basket = {"email": person.email, "subtotal_minor": 4_000}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{shop.url}/_sandbox/checkout", json=basket) as answer,
        ):
            assert answer.status == 200

        async def is_awarded() -> bool:
            (member,) = (await cli.read("members", "1", "--search", person.email))["members"]
            return bool(member["balance"] == before["balance"] + 200)

        await _until(is_awarded)
        rows = (await cli.read("deliveries", "1"))["deliveries"]
        assert {row["state"] for row in rows} == {"handled"}
        assert all("body" not in row for row in rows)
        (store,) = (await cli.read("stores"))["stores"]
        assert store["deliveries"]["handled"] == len(rows)
        await _ends(process, signal.SIGTERM)


@pytest.mark.feature("B-14", "R-08")
async def test_a_run_left_to_workers_is_done_by_one(merchant: CommandLine) -> None:
    run = (await merchant.read("backfill", "preview", "1"))["run"]
    done = await merchant.run("backfill", "confirm", str(run), "--background", "--yes")
    assert done.status == 0
    assert "No worker is alive" in done.err
    (found,) = (await merchant.read("backfill", "status", "1"))["runs"]
    assert (found["state"], found["awarded"]["points"]) == ("confirmed", 0)
    async with merchant.started("worker") as process:
        assert "works" in await _line(process)

        async def is_done() -> bool:
            (found,) = (await merchant.read("backfill", "status", "1"))["runs"]
            return bool(found["state"] == "done")

        await _until(is_done)
        findings = {found["name"]: found for found in (await merchant.read("doctor"))["findings"]}
        assert "alive" in findings["workers"]["detail"]
        assert findings["stored secrets"]["ok"]
        await _ends(process, signal.SIGTERM)
    (found,) = (await merchant.read("backfill", "status", "1"))["runs"]
    assert found["awarded"]["points"] == found["points"] > 0


async def test_a_stopped_command_goes_on_when_it_is_given_again(
    cli: CommandLine, shop: WooCommerceSandbox
) -> None:
    await cli.said(*connect_words(shop), "--no-sync")
    before = shop.requests
    shop.faults.delay_seconds = 0.3
    try:
        async with cli.started("sync", "1") as process:
            async with asyncio.timeout(SECONDS):
                while shop.requests < before + 2:  # noqa: ASYNC110  the shop has no event for it
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                _, err = await process.communicate()
            assert process.returncode == 1
            assert "goes on from there" in err.decode()
    finally:
        shop.faults.delay_seconds = 0.0
    assert (await cli.read("stores"))["stores"][0]["synced_at"] is None
    assert (await cli.read("sync", "1"))["read"]["customers"] == 120


async def test_an_empty_server_wants_to_be_migrated(database_server: DatabaseServer, tmp_path: Path) -> None:
    name = await database_server.copy("template0")
    empty = command_line(database_server.url(name), tmp_path)
    assert "perennial migrate" in await empty.failed("stores")
    sick = await empty.run("doctor", "--json")
    assert sick.status == 1
    assert '"ok": false' in sick.out
    assert "Applied" in await empty.said("migrate")
    assert (await empty.read("stores"))["stores"] == []
    assert "Applied" not in await empty.said("migrate")
    await database_server.drop(name)


async def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    away = command_line("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    said = await away.failed("stores", PERENNIAL_DATABASE_WAIT_SECONDS="1")
    assert "PERENNIAL_DATABASE_URL" in said
    assert len(said.strip().splitlines()) == 1


async def test_help_names_every_command(tmp_path: Path) -> None:
    cli = command_line("", tmp_path)
    said = await cli.said("--help")
    from app.cli import COMMANDS

    for name in COMMANDS:
        assert f"\n  {name} " in said
        assert "Usage" in await cli.said(name, "--help")
    assert {"woocommerce", "stripe", "shopify"} <= set((await cli.said("connect", "--help")).split())


async def test_a_command_is_a_process_with_one_document_on_stdout(merchant: CommandLine) -> None:
    async with merchant.started("stores", "--json") as process:
        out, err = await process.communicate()
    assert process.returncode == 0
    assert out.startswith(b"{")
    assert out.endswith(b"}\n")
    assert err == b""
