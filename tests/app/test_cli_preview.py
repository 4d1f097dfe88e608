"""`sync --preview`: what reading a store's past would take, before it is read."""

from __future__ import annotations

import pytest

from sandbox.stripe import StripeSandbox
from sandbox.world import Seed, World
from tests.app.command_line import CommandLine


async def test_what_reading_takes_and_what_the_platform_allows_is_said_before(cli: CommandLine) -> None:
    world = World(Seed(customers=60, orders=300, number=9), base_is_total=True)
    async with StripeSandbox(world) as sandbox:
        given = sandbox.connect_answers()
        words = ("--api-key", given["api-key"], "--api-base", given["api-base"])
        await cli.said("connect", "stripe", *words, "--no-sync", "--setting", "requests_per_second=0")
        found = await cli.read("sync", "1", "--preview")
        assert found["store"] == 1
        assert found["estimate"]["requests"] > 0
        said = await cli.said("sync", "1", "--preview")
        assert f"about {found['estimate']['requests']} requests" in said
        assert "times in 30 days" in said
        (store,) = (await cli.read("stores"))["stores"]
        assert (store["orders"], store["synced_at"]) == (0, None)  # nothing was read


async def test_a_platform_that_counts_no_readings_says_so(merchant: CommandLine) -> None:
    assert (await merchant.read("sync", "1", "--preview"))["estimate"] is None
    assert "not counted" in await merchant.said("sync", "1", "--preview")


@pytest.mark.parametrize("permission", ["dispute_read", "customer_write"])
async def test_what_a_key_may_not_do_is_said_when_it_is_connected(cli: CommandLine, permission: str) -> None:
    world = World(Seed(customers=6, orders=6, number=9), base_is_total=True)
    async with StripeSandbox(world) as sandbox:
        sandbox.access.keys[sandbox.key].lacks.add(permission)
        given = sandbox.connect_answers()
        words = ("--api-key", given["api-key"], "--api-base", given["api-base"], "--no-sync")
        done = await cli.run("connect", "stripe", *words)
        assert (done.status, permission in done.err) == (0, True)
        found = await cli.read("connect", "stripe", *words)
        assert [permission in notice for notice in found["notices"]] == [True]
