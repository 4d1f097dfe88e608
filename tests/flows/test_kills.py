"""Kill -9 of app, worker and database server, and the books are those of an undisturbed run."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from app.settings import Settings
from app.wiring import open_services, work
from storage.secrets import new_key
from sync.jobs import build
from tests.flows.books import Books
from tests.flows.kill_script import Company, Killer
from tests.flows.shops import install, shop_now, three_shops
from tests.flows.story import Story
from tests.jobs.processes import open_folder

SEED = 20261121
STEPS = 6
KILLS_A_STEP = 4
CUSTOMERS, ORDERS = 2_500, 4_000
DELAY_SECONDS = 0.1  # of each answer of a shop: work lasts long enough to be hit


async def nothing() -> None:
    """No trouble."""


async def told(
    data_dir: Path, now: datetime, time_zone: str, log: Path, seed: int | None
) -> tuple[list[Books], list[int], Counter[str]]:
    """One telling of the story in processes of its own: the books, the codes that each shop holds, and who was killed."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = Settings(
        data_dir=data_dir,
        secret_key=SecretStr(new_key()),
        port=port,
        public_url=address,
        allow_private_hosts=True,
    )
    company = Company(environment(settings), data_dir, log)
    trouble: Callable[[], Awaitable[None]] = nothing
    killer = Killer(company, seed or 0)
    if seed is not None:

        async def trouble() -> None:
            await killer.storm(KILLS_A_STEP)

    async with AsyncExitStack() as stack:
        shops = await stack.enter_async_context(
            three_shops(now, time_zone, customers=CUSTOMERS, orders=ORDERS)
        )
        for shop in shops:
            shop.faults.delay_seconds = DELAY_SECONDS
        services = await stack.enter_async_context(open_services(settings))
        jobs = await stack.enter_async_context(build(services, work()).opened())
        stack.push_async_callback(company.end)
        await company.start("serve")
        await answers(services.session, address)
        stores = [await install(services, shop, now) for shop in shops]
        await company.start("worker")
        books = await Story(services, jobs, shops, stores, trouble).tell()
        return books, [shop.codes_in_store() for shop in shops], killer.killed


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a process reads them."""
    assert settings.secret_key is not None
    return {
        "PERENNIAL_DATA_DIR": str(settings.data_dir),
        "PERENNIAL_SECRET_KEY": settings.secret_key.get_secret_value(),
        "PERENNIAL_PORT": str(settings.port),
        "PERENNIAL_ALLOW_PRIVATE_HOSTS": "1",
        # Shorter waits than in life, so that a test sees what comes after them.
        "PERENNIAL_HEARTBEAT_SECONDS": "0.5",
        "PERENNIAL_STALLED_SECONDS": "2.5",
        "PERENNIAL_SWEEP_SECONDS": "1",
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def answers(session: aiohttp.ClientSession, address: str) -> None:
    """Waits until the app takes requests."""
    async with asyncio.timeout(30):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(address):
                    return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(420)
async def test_kills_change_nothing_in_the_books(tmp_path: Path) -> None:
    now, time_zone = shop_now()
    with open_folder() as folder:
        quiet, quiet_codes, _ = await told(folder / "quiet", now, time_zone, tmp_path / "quiet.log", None)
        books, codes, killed = await told(folder / "data", now, time_zone, tmp_path / "killed.log", SEED)
    assert killed.total() == STEPS * KILLS_A_STEP >= 20
    assert min(killed[target] for target in ("serve", "worker", "server")) >= 3
    assert "lost its worker" in (tmp_path / "killed.log").read_text(), "no kill came in the middle of a job"
    for expected, found in zip(quiet, books, strict=True):
        assert found.orders == expected.orders
        assert found.awards == expected.awards
        assert found.net == expected.net
        assert found.balances == expected.balances
        assert found.grants == expected.grants
        assert found.codes == expected.codes == len(expected.grants)
        assert any(state == "redeemed" for _, _, state in found.grants)
    assert codes == quiet_codes == [found.codes for found in books]
    assert any(turn == 1 for _, _, turn, _ in books[0].awards)
