"""`perennial demo`: the whole main job on three made-up stores, through the same code and HTTP as real ones.

The stand-ins of the platforms run as processes of their own and keep their own books; what the app ends up with is
held against those, and only if everything agrees is the demo `ok`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from app.demo_books import StoreFigures, agree, figures, ledger_figures, orders_held
from app.demo_show import Show
from app.server import serving
from app.settings import Settings
from app.wiring import open_jobs, open_services
from connectors.base import Noun
from rewards.records import Benefit, BenefitKind
from rewards.terms import RewardTerms
from storage import programs
from storage.stores import StoreRow
from sync import backfill, history, install, occasions, push
from sync.reward_changes import create_reward
from sync.services import Services

PLATFORMS = ("shopify", "stripe", "woocommerce")
BIRTHDAY_LEAD_DAYS = 7
JOINING_LEAD_DAYS = 0
SHOPPERS = 12  # per store: members who redeem their code at the checkout
BASKET_MINOR = 5_000
PATIENCE_SECONDS = 60.0
_ON_ITS_WAY_SECONDS = 10.0


@dataclass(frozen=True)
class DemoSize:
    """How large each of the made-up stores is."""

    customers: int = 2_000
    orders: int = 10_000
    seed: int = 1


@dataclass
class Stand:
    """A running stand-in of a platform and what the demo does with its store."""

    platform: str
    url: str
    answers: Mapping[str, str]
    store: StoreRow | None = None
    past_orders: int = 0
    previewed: int = 0
    awarded: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def installed(self) -> StoreRow:
        """The store, once it is installed."""
        assert self.store is not None, "the demo installs a store before it uses it"
        return self.store


async def run_demo(size: DemoSize, show: Show, *, is_once: bool) -> bool:
    """Plays the main job; True when all figures agree. Stays up until it is interrupted, unless `is_once`."""
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="perennial-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        show.begin(size.customers, size.orders)
        stands = [
            # Another seed for each: equal figures would hide figures of another store's.
            await stack.enter_async_context(_stand(platform, replace(size, seed=size.seed + number)))
            for number, platform in enumerate(PLATFORMS)
        ]
        settings = Settings(data_dir=folder, database_url=None, allow_private_hosts=True, port=0)
        services = await stack.enter_async_context(open_services(settings))
        jobs = await stack.enter_async_context(open_jobs(services))
        address = await stack.enter_async_context(serving(settings, services, jobs, with_worker=True))
        services = replace(services, public_url=address)
        show.ready(address, {stand.platform: stand.url for stand in stands})
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for stand in stands:
                group.create_task(_play(services, stand, show))
        report = await _report(services, stands, time.monotonic() - began)
        show.end(report)
        if not is_once:
            show.stays_up(address, folder)
            await asyncio.Event().wait()
        return bool(report["ok"])


@asynccontextmanager
async def _stand(platform: str, size: DemoSize) -> AsyncIterator[Stand]:
    """A stand-in in a process of its own, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        platform,
        f"--seed={size.seed}",
        f"--customers={size.customers}",
        f"--orders={size.orders}",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        if not line:
            raise RuntimeError(f"The stand-in for {platform} did not start; its own message stands above.")
        told = json.loads(line)
        yield Stand(platform, told["url"], told["connect"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _play(services: Services, stand: Stand, show: Show) -> None:
    """One merchant's whole story."""
    await _install(services, stand, show)
    await _past_actions(services, stand, show)
    await _occasions(services, stand, show)
    await _shop(services, stand, show)
    await _settle(services, stand, show)


async def _install(services: Services, stand: Stand, show: Show) -> None:
    connected = await install.connect(services, stand.platform, stand.answers)
    stand.store = connected.store
    if connected.webhook_note:
        raise RuntimeError(connected.webhook_note)
    show.step(
        stand.platform,
        "installed",
        f"{connected.store.name}, {connected.store.currency}, {connected.store.time_zone}; webhooks set up",
    )

    def progress(noun: Noun, records: int) -> None:
        show.progress(stand.platform, noun.value, records)

    report = await history.run_import(services, connected.store.id, progress=progress)
    async with services.database.transaction() as connection:
        stand.past_orders = await orders_held(connection, connected.store)
    counts = report.counts
    show.step(
        stand.platform,
        "history read",
        f"{counts['customers']:,} customers, {counts['coupons']:,} coupons, {stand.past_orders:,} orders"
        + (f" from {counts['orders']:,} records" if counts["orders"] != stand.past_orders else ""),
    )


async def _past_actions(services: Services, stand: Stand, show: Show) -> None:
    """Preview, confirm, run; then the merchant switches earning on."""
    store = stand.installed
    previewed = await backfill.preview(services, store.id, actor="merchant")
    stand.previewed = previewed.preview["points"]
    show.step(stand.platform, "past actions previewed", f"{stand.previewed:,} points; nothing has moved yet")
    async with services.database.transaction() as connection:
        await backfill.confirm(services, previewed.id, actor="merchant", connection=connection)
    done = await backfill.continue_run(services, previewed.id)
    stand.awarded = done.counts.get("points", 0)
    show.step(
        stand.platform,
        "confirmed and awarded",
        f"{stand.awarded:,} points in {done.counts.get('entries', 0):,} entries",
    )
    async with services.database.transaction() as connection:
        await programs.earn_from(connection, store.id, services.clock())


async def _occasions(services: Services, stand: Stand, show: Show) -> None:
    """Two rewards; whoever's day has come gets a code that exists in the store."""
    store = stand.installed
    rewards = (
        ("Birthday gift", "birthday", 1_000, BIRTHDAY_LEAD_DAYS, "BDAY"),
        ("Thank you for another year", "joining", 1_500, JOINING_LEAD_DAYS, "YEAR"),
    )
    for name, trigger, basis_points, lead_days, prefix in rewards:
        terms = RewardTerms(
            benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=basis_points),
            lead_days=lead_days,
            validity_days=30,
            code_prefix=prefix,
        )
        await create_reward(
            services, store.program_id, name=name, trigger=trigger, terms=terms, actor="merchant"
        )
    # The worker may be at it since the first of the two was there.
    await occasions.run(services, store_id=store.id, patience_seconds=PATIENCE_SECONDS)
    given = await _count(services, store.id, "SELECT count(*) AS n FROM grants WHERE store_id = %s")
    show.step(stand.platform, "occasions", f"{given} members' day has come")
    pushed = await push.push_store(services, store.id)
    if pushed.skipped:  # the worker was first
        await _until(
            services, store.id, "SELECT count(*) AS n FROM grants WHERE store_id = %s AND state = 'decided'"
        )
    show.step(stand.platform, "codes pushed", "each one is a coupon that the store itself holds now")


async def _shop(services: Services, stand: Stand, show: Show) -> None:
    """Shoppers redeem at the store's checkout; some try what must not work; forged posts come beside genuine ones."""
    async with services.database.transaction() as connection:
        cursor = await connection.execute(
            """SELECT c.code, sc.email FROM promotion_codes c JOIN grants g ON g.id = c.grant_id
               JOIN store_customers sc ON sc.id = g.store_customer_id
               WHERE c.store_id = %s AND g.state = 'pushed' ORDER BY c.id LIMIT %s""",
            (stand.installed.id, SHOPPERS),
        )
        codes = await cursor.fetchall()
    await _control(
        services, stand, "faults", {"forge_webhooks": 3, "repeat_webhooks": 5, "reorder_webhooks": True}
    )
    for number, row in enumerate(codes):
        basket = {"email": row["email"], "code": row["code"], "subtotal_minor": BASKET_MINOR}
        await _control(services, stand, "checkout", basket)
        if number == 0:
            stand.refused.append(await _refusal(services, stand, basket))
            if len(codes) > 1:
                stand.refused.append(await _refusal(services, stand, {**basket, "code": codes[1]["code"]}))
            stand.refused.append(await _refusal(services, stand, {**basket, "code": "NO-SUCH-CODE"}))
        await _control(services, stand, "checkout", {"email": row["email"], "subtotal_minor": BASKET_MINOR})
    said = ", ".join(reason.replace("_", " ") for reason in stand.refused)
    show.step(stand.platform, "checkout", f"{len(codes)} codes redeemed; rightly refused: {said}")


async def _settle(services: Services, stand: Stand, show: Show) -> None:
    """All webhooks come, then all of them once more; what they say counts once."""
    await _control(services, stand, "quiet", {})
    await _control(services, stand, "replay", {})
    await _control(services, stand, "quiet", {})
    await _until(
        services,
        stand.installed.id,
        "SELECT count(*) AS n FROM deliveries WHERE store_id = %s AND state = 'waiting'",
    )
    redeemed = await _count(
        services,
        stand.installed.id,
        "SELECT count(*) AS n FROM grants WHERE store_id = %s AND state = 'redeemed'",
    )
    show.step(
        stand.platform,
        "webhooks came back",
        f"{redeemed} grants redeemed, each once, though every webhook came twice",
    )


async def _until(services: Services, store_id: int, count: str) -> None:
    """Waits until the count is 0. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await _count(services, store_id, count):  # noqa: ASYNC110 - others do what is waited for
            await asyncio.sleep(0.1)


async def _count(services: Services, store_id: int, count: str) -> int:
    async with services.database.transaction() as connection:
        found = await (await connection.execute(count, (store_id,))).fetchone()
    return 0 if found is None else int(found["n"])


async def _control(services: Services, stand: Stand, action: str, body: Mapping[str, object]) -> Any:
    """Asks the stand-in for something that its people do. Raises when it refuses."""
    async with services.session.post(f"{stand.url}/_sandbox/{action}", json=body) as answer:
        told = await answer.json()
        if answer.status != 200:
            raise RuntimeError(f"{stand.platform}: {action} was answered {answer.status}: {told}")
        return told


async def _refusal(services: Services, stand: Stand, basket: Mapping[str, object]) -> str:
    async with services.session.post(f"{stand.url}/_sandbox/checkout", json=basket) as answer:
        told = await answer.json()
        if answer.status != 422:
            raise RuntimeError(f"{stand.platform}: the checkout took a code that it had to refuse.")
        return str(told["error"])


async def _books(session: aiohttp.ClientSession, stand: Stand) -> dict[str, Any]:
    asked = {
        "sign_up": install.SIGN_UP_POINTS,
        "order_points": install.POINTS_PER_UNIT,
        "order_per_minor": 100,
        "birthday_lead": BIRTHDAY_LEAD_DAYS,
        "joining_lead": JOINING_LEAD_DAYS,
    }
    async with session.get(f"{stand.url}/_sandbox/books", params=asked) as answer:
        answer.raise_for_status()
        told: dict[str, Any] = await answer.json()
        return told


async def _report(services: Services, stands: list[Stand], seconds: float) -> dict[str, Any]:
    """The one document that the demo ends with; `ok` only when the app's figures are the stores' own."""
    stores: list[StoreFigures] = []
    is_ok = True
    for stand in stands:
        found, agrees = await _figures(services, stand)
        stores.append(found)
        is_ok = is_ok and agrees
    async with services.database.transaction() as connection:
        ledger = await ledger_figures(connection)
    is_ok = is_ok and ledger["sum_of_entries"] == ledger["sum_of_balances"]
    return {"ok": is_ok, "seconds": round(seconds, 1), "stores": stores, "ledger": ledger}


async def _figures(services: Services, stand: Stand) -> tuple[StoreFigures, bool]:
    """One store's figures, and whether they are those of its books.

    What we write into the store, such as members' points, makes it tell us of it: a post that is on its way while we look
    is waited for.
    """
    until = time.monotonic() + _ON_ITS_WAY_SECONDS
    while True:
        books = await _books(services.session, stand)
        async with services.database.transaction() as connection:
            found = await figures(
                connection,
                stand.installed,
                books,
                past_orders=stand.past_orders,
                previewed=stand.previewed,
                awarded=stand.awarded,
            )
        if agree(found, books) or time.monotonic() > until:
            return found, agree(found, books)
        await asyncio.sleep(0.2)
