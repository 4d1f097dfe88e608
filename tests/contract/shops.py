"""The connectors' cases, and a stand-in shop opened through a connector, with an ear for its webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web

from connectors.base import (
    Noun,
    RawDelivery,
    Secret,
    Store,
    StoreAccess,
    StoreOptions,
    Subscription,
)
from rewards.changes import Change, CustomerSaved, OrderSaved, RefundSaved
from rewards.records import Benefit, BenefitKind, CodeDraft, Customer, KnownCode, Order, PushedCode, Refund
from sandbox.server import Sandbox
from sandbox.world import Seed, World
from tests.contract.case import ContractCase

_ROOT = Path(__file__).parents[2]
PLATFORMS = sorted(path.parent.name for path in (_ROOT / "connectors").glob("*/__init__.py"))
TOKEN = "a-token-of-ours"


def case_of(platform: str) -> ContractCase:
    """The case that the platform's tests bring."""
    case = importlib.import_module(f"tests.connectors.{platform}.case").CASE
    assert isinstance(case, ContractCase)
    return case


@dataclass
class Ear:
    """A receiver of webhooks: keeps what comes, answers 200, and lets pings pass."""

    case: ContractCase
    address: str = ""
    deliveries: list[RawDelivery] = field(default_factory=list)
    pings: int = 0

    async def hear(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = RawDelivery(headers, await request.read(), request.path.rpartition("/")[2])
        if self.case.connector.webhooks.is_ping(delivery):
            self.pings += 1
        else:
            self.deliveries.append(delivery)
        return web.Response()


@dataclass
class Shop:
    """One stand-in shop and the store that the connector opens on it."""

    case: ContractCase
    sandbox: Sandbox
    store: Store
    options: StoreOptions
    ear: Ear
    webhook_secrets: Sequence[Secret]
    subscription: Subscription | None = None

    async def subscribe(self) -> None:
        """Asks for webhooks, answered by the ear while it waits."""
        self.subscription = await self.store.subscribe(self.ear.address, Secret("a-secret-of-the-tests"))

    def changes(self, delivery: RawDelivery) -> Sequence[Change]:
        """What a delivery says, its signature checked."""
        assert self.subscription is not None
        made = self.subscription
        secrets = [made.secret, *made.also_signing, *self.webhook_secrets]
        reader = self.case.connector.webhooks
        reader.verify(delivery, secrets, datetime.now(UTC))
        return reader.parse(delivery, self.options)

    def orders_heard(self) -> dict[str, Order]:
        """All orders as webhooks told them so far."""
        return told([change for delivery in self.ear.deliveries for change in self.changes(delivery)])

    async def history(self, noun: Noun, since: datetime | None = None) -> list[Change]:
        """All changes of a noun's history."""
        found: list[Change] = []
        for window in await self.store.windows(noun, since):
            async for page in self.store.read(window, None):
                found += page.changes
        return found

    async def orders(self) -> dict[str, Order]:
        """All orders of the history by external id."""
        return told(await self.history(Noun.ORDERS))

    async def customers(self, count: int) -> list[Customer]:
        """The first customers with an account, an e-mail and an id."""
        saved = [change for change in await self.history(Noun.CUSTOMERS) if isinstance(change, CustomerSaved)]
        found = [c.customer for c in saved if c.customer.has_account and c.customer.email]
        return sorted(found, key=lambda customer: customer.external_id)[:count]


@contextlib.asynccontextmanager
async def open_shop(
    case: ContractCase,
    seed: Seed,
    *,
    settings: Mapping[str, str] | None = None,
    spoil: Callable[[dict[str, Secret]], None] = lambda credentials: None,
) -> AsyncIterator[Shop]:
    """A fresh shop, installed with the answers it gives itself; `spoil` may bend the credentials afterwards."""
    ear = Ear(case)
    app = web.Application()
    app.router.add_post(f"/webhooks/{case.connector.platform}/{TOKEN}", ear.hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    ear.address = f"http://{host}:{port}/webhooks/{case.connector.platform}/{TOKEN}"
    sandbox = case.sandbox(World(seed))
    try:
        async with sandbox, aiohttp.ClientSession() as session:
            installed = await case.connector.install.installation(sandbox.connect_answers(), session)
            credentials = dict(installed.credentials)
            spoil(credentials)
            options = StoreOptions(
                seed.currency,
                seed.time_zone,
                {
                    **case.connector.default_settings,
                    **installed.settings,
                    "patience_seconds": "20",
                    **(settings or {}),
                },
            )
            access = StoreAccess(installed.external_id, credentials, options, installed.api_base)
            store = case.connector.open_store(access, session)
            yield Shop(case, sandbox, store, options, ear, installed.webhook_secrets)
    finally:
        await runner.cleanup()


def told(changes: Sequence[Change]) -> dict[str, Order]:
    """What changes say of each order, put together as the core does it.

    With a version the latest state counts. Without one, several objects tell parts of one purchase: paid stays paid,
    amounts only grow, refunds are a set.
    """
    orders: dict[str, Order] = {}
    refunds: dict[str, dict[str, Refund]] = {}
    for change in changes:
        if isinstance(change, OrderSaved):
            number = change.order.external_id
            known = orders.get(number)
            orders[number] = change.order if known is None else _merged(known, change.order)
        elif isinstance(change, RefundSaved):
            refunds.setdefault(change.order_external_id, {})[change.refund.external_id] = change.refund
    return {number: _with_refunds(order, refunds.get(number, {})) for number, order in orders.items()}


def _with_refunds(order: Order, told_alone: Mapping[str, Refund]) -> Order:
    """The refunds that the order lists and those told on their own: a set by id."""
    every = {refund.external_id: refund for refund in order.refunds} | dict(told_alone)
    return replace(order, refunds=tuple(every[number] for number in sorted(every)))


def _merged(one: Order, two: Order) -> Order:
    if one.source_updated_at and two.source_updated_at:
        return max(two, one, key=lambda order: order.source_updated_at or datetime.min.replace(tzinfo=UTC))
    money = {
        name: max(getattr(one, name), getattr(two, name))
        for name in ("subtotal_minor", "tax_minor", "shipping_minor", "discount_minor", "total_minor")
    }
    paid, other = (one, two) if one.paid_at else (two, one)
    return replace(
        paid,
        **money,
        customer_external_id=paid.customer_external_id or other.customer_external_id,
        email=paid.email or other.email,
        placed_at=min(one.placed_at, two.placed_at),
        codes=tuple(sorted({*one.codes, *two.codes})),
    )


def draft(customer: Customer, number: int = 0, *, is_guest: bool = False) -> CodeDraft:
    """A birthday code for the customer: 15 % until the end of the shop's day in two weeks."""
    zone = ZoneInfo("Europe/Madrid")
    last = datetime.now(zone).date() + timedelta(days=14)
    return CodeDraft(
        code=f"BDAY-{customer.external_id[-8:]}-{number}".replace("_", "-"),
        idempotency_key=f"grant-{customer.external_id}-{number}",
        reward_key="reward-1-v1",
        title="Happy birthday",
        benefit=Benefit(BenefitKind.PERCENTAGE, basis_points=1500),
        starts_at=datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5),
        ends_at=datetime.combine(last, time(23, 59, 59), zone).astimezone(UTC),
        customer_external_id=None if is_guest else customer.external_id,
        email=customer.email,
    )


def known(pushed: PushedCode) -> KnownCode:
    """What we would have stored of a pushed code."""
    assert pushed.refused is None, pushed.refused
    return KnownCode(pushed.code, pushed.external_id, pushed.coupon_external_id)


async def until(holds: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Waits for something that must come true, with a bound."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for offers no event
            await asyncio.sleep(0.01)
