"""What merchants should know of their stores, where they look: in the list of stores and at the doctor's."""

from __future__ import annotations

import json

import psycopg
import pytest
from psycopg.types.json import Jsonb

from app.health import MOST_STORES
from tests.app.command_line import CommandLine

MISSING = "Orders older than 60 days are not shown to us: ask for read_all_orders."


async def _has(cli: CommandLine, sql: str, *values: object) -> None:
    url = cli.variables["PERENNIAL_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(sql, values)


@pytest.fixture
async def noticed(merchant: CommandLine) -> CommandLine:
    """A shop whose platform keeps something from us, connected while nobody said where we are reached."""
    await _has(merchant, "UPDATE stores SET notices = %s", Jsonb([MISSING]))
    return merchant


async def test_the_list_of_stores_shows_what_merchants_should_know(noticed: CommandLine) -> None:
    (store,) = (await noticed.read("stores"))["stores"]
    told, polled = store["notices"]
    assert told == MISSING
    assert "PERENNIAL_PUBLIC_URL" in polled
    assert "read every 15 minutes" in polled
    said = " ".join((await noticed.said("stores")).split())
    assert f"Store 1: {told}" in said
    assert f"Store 1: {polled}" in said
    (store,) = (await noticed.read("stores", PERENNIAL_POLL_MINUTES="60"))["stores"]
    assert "read every 60 minutes" in store["notices"][1]


async def test_a_preview_says_what_it_could_not_count(noticed: CommandLine) -> None:
    assert MISSING in (await noticed.read("backfill", "preview", "1"))["notices"]
    assert MISSING in " ".join((await noticed.said("backfill", "preview", "1")).split())


async def test_the_doctor_tells_and_is_content(noticed: CommandLine) -> None:
    found = await noticed.read("doctor")
    assert found["ok"]
    (told,) = [finding for finding in found["findings"] if finding["name"] == "store 1"]
    assert told["detail"].startswith(MISSING)
    assert "on a schedule" in told["detail"]


async def test_the_doctor_names_the_install_links_and_a_wrong_name_in_the_settings(
    merchant: CommandLine,
) -> None:
    async def links(**variables: str) -> str:
        done = await merchant.run("doctor", "--json", **variables)
        (found,) = [one for one in json.loads(done.out)["findings"] if one["name"] == "install links"]
        assert (done.status == 0) == found["ok"]
        return str(found["detail"])

    url = "https://perennial.example"
    assert f"{url}/install/woocommerce" in await links(PERENNIAL_PUBLIC_URL=url)
    assert "PERENNIAL_PUBLIC_URL" in await links()
    assert "switched off" in await links(PERENNIAL_PUBLIC_URL=url, PERENNIAL_INSTALL_PAGES="0")
    said = await links(PERENNIAL_APPS__SHOPFIY__CLIENT_ID="1")
    assert said.startswith("PERENNIAL_APPS__SHOPFIY__… names no platform; known are shopify, stripe")


async def test_the_doctor_names_a_few_stores_and_counts_the_rest(noticed: CommandLine) -> None:
    await _has(
        noticed,
        """INSERT INTO stores (program_id, platform, external_id, token, name, time_zone, currency, settings, status,
               subscription_ids, notices, installed_at)
           SELECT program_id, platform, n::text, n::text, name, time_zone, currency, settings, status, subscription_ids,
               notices, installed_at FROM stores, generate_series(1, %s) AS n""",
        MOST_STORES + 2,
    )
    findings = (await noticed.read("doctor"))["findings"]
    assert sum(finding["name"].startswith("store ") for finding in findings) == MOST_STORES
    (more,) = [finding for finding in findings if finding["name"] == "more stores"]
    assert more["detail"].startswith("3 have notices too")
