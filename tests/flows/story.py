"""The main job from history to redemption, told so that every step can be repeated after a loss.

Between the steps somebody may kill what runs (`trouble`); a step only ends when everything that it asked for is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rewards.errors import DatabaseError
from sandbox.server import Sandbox
from storage import backfill as runs
from storage.database import Connection
from storage.stores import StoreRow
from sync import backfill
from sync.attempts import OUTAGES
from sync.jobs import Jobs
from sync.services import Services
from tests.flows.books import Books, read_books

T = TypeVar("T")
PATIENCE_SECONDS = 90.0


@dataclass
class Story:
    """One telling of it, over the shops and stores of one database."""

    services: Services
    jobs: Jobs
    shops: Sequence[Sandbox]
    stores: Sequence[StoreRow]
    trouble: Callable[[], Awaitable[None]]

    async def tell(self) -> list[Books]:
        """All of it; the books at the end, store by store."""
        await self._with_trouble(self._read_history)
        await self._with_trouble(lambda: self._reward_past_actions(1))
        await self._with_trouble(self._give_occasions)
        await self._with_trouble(self._buy)
        await self._with_trouble(self._undo_one)
        await self._with_trouble(self._give_back)
        await self._catch_up()
        return [await self._do(lambda c, s=store: read_books(c, s.id)) for store in self.stores]  # type: ignore[misc]

    async def _with_trouble(self, step: Callable[[], Awaitable[None]]) -> None:
        trouble = asyncio.ensure_future(self.trouble())
        try:
            await step()
        finally:
            await trouble
        await self._until_idle()

    async def _read_history(self) -> None:
        for store in self.stores:
            await self._defer("import_history", store.id)
        await self._until(
            "the history is read",
            "SELECT count(*) = %s AS is_so FROM stores WHERE synced_at IS NOT NULL",
            len(self.stores),
        )

    async def _reward_past_actions(self, times: int, stores: Sequence[StoreRow] | None = None) -> None:
        for store in stores or self.stores:
            run = await self._again(lambda s=store: backfill.preview(self.services, s.id, actor="test"))  # type: ignore[misc]
            await self._do(lambda connection, run_id=run.id: self._confirm(connection, run_id))  # type: ignore[misc]
            await self._until(
                f"run {run.id} is done",
                "SELECT state = 'done' AS is_so FROM backfill_runs WHERE id = %s",
                run.id,
            )

    async def _confirm(self, connection: Connection, run_id: int) -> None:
        # The answer to an earlier try may have been lost with the server.
        if (await runs.load(connection, run_id, lock=True)).state == "previewed":
            await backfill.confirm(self.services, run_id, actor="test", connection=connection)
            await self.jobs.defer_in(connection, "backfill", run_id)

    async def _give_occasions(self) -> None:
        expected = 0
        for shop in self.shops:
            due = shop.world.birthdays_due(shop.world.seed.today, 0)
            expected += len(due) + len(shop.world.anniversaries_due(shop.world.seed.today, 0))
        assert expected >= len(self.shops)
        await self._until(
            "every grant is pushed",
            """SELECT count(*) FILTER (WHERE g.state IN ('pushed', 'notified')) = %s AND count(*) = %s AS is_so
               FROM grants g""",
            expected,
            expected,
            # A wake-up may be lost with the server; in life the next tick repeats it.
            meanwhile=lambda: self.jobs.wake("occasions", 0),
        )

    async def _buy(self) -> None:
        """Every other member with a code uses it; some others buy without one."""
        for shop, store in zip(self.shops, self.stores, strict=True):
            codes = await self._rows(
                """SELECT m.email, c.code FROM grants g JOIN promotion_codes c ON c.grant_id = g.id
                   JOIN members m ON m.id = g.member_id WHERE g.store_id = %s ORDER BY m.email, g.occasion""",
                store.id,
            )
            for index, found in enumerate(codes[::2]):
                await self._checkout(shop, found["email"], 2_000 + 100 * index, found["code"])
            accounts = sorted(person.email for person in shop.world.people if not person.is_guest)
            for index, email in enumerate(accounts[:10]):
                await self._checkout(shop, email, 5_000 + 100 * index, None)

    async def _checkout(self, shop: Sandbox, email: str, subtotal_minor: int, code: str | None) -> None:
        answer = await self._ask(shop, "checkout", email=email, subtotal_minor=subtotal_minor, code=code)
        self.bought.setdefault(shop.platform, []).append(answer)

    async def _undo_one(self) -> None:
        """The first store's run is undone as a batch and made again: its facts are awarded in round 1."""
        store = self.stores[0]
        (run,) = await self._rows(
            "SELECT max(id) AS id FROM backfill_runs WHERE store_id = %s AND state = 'done'", store.id
        )
        await self._defer("undo_backfill", run["id"])
        await self._until(
            "the run is undone",
            "SELECT state = 'undone' AS is_so FROM backfill_runs WHERE id = %s",
            run["id"],
        )
        await self._reward_past_actions(2, [store])

    async def _give_back(self) -> None:
        """Of the new orders every third is repaid in part, every fourth wholly, and one is cancelled."""
        for shop in self.shops:
            bought = self.bought[shop.platform]
            for index, answer in enumerate(bought):
                total = int(answer["total_minor"])
                if index % 3 == 1:
                    await self._ask(shop, "refund", order=answer["order"], total_minor=total // 3)
                elif index % 4 == 2:
                    await self._ask(shop, "refund", order=answer["order"], total_minor=total)
            await self._ask(shop, "cancel", order=bought[0]["order"])

    async def _catch_up(self) -> None:
        """What no webhook brought, the daily look brings; then every post comes once more, in another order."""
        await self.jobs.wake("reconcile", *(store.id for store in self.stores))
        await self._until_idle()
        for shop in self.shops:
            await self._ask(shop, "replay")
        await self._until_idle()

    # -- asking, and being sure of it ------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        self.bought: dict[str, list[dict[str, Any]]] = {}

    async def _ask(self, shop: Sandbox, control: str, **body: object) -> dict[str, Any]:
        url = f"{shop.url}/_sandbox/{control}"
        async with self.services.session.post(url, json=body) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == 200, f"{control} of {shop.platform}: {found}"
            return found

    async def _defer(self, kind: str, subject_id: int) -> None:
        async def defer(connection: Connection) -> None:
            await self.jobs.defer_in(connection, kind, subject_id)

        await self._do(defer)

    async def _do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        return await self._again(lambda: self.services.database.retrying(work))

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Repeats the work while the database is away."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await work()
            except (*OUTAGES, DatabaseError):
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        async def read(connection: Connection) -> list[dict[str, Any]]:
            return await (await connection.execute(query, values)).fetchall()

        return await self._do(read)

    async def _until(
        self, what: str, query: str, *values: object, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (await self._rows(query, *values))[0]["is_so"]:
            assert time.monotonic() < deadline, f"{what}: not so after {PATIENCE_SECONDS:.0f} s"
            if meanwhile is not None:
                await meanwhile()
            await asyncio.sleep(0.2)

    async def _until_idle(self) -> None:
        """Waits until no webhook is on its way, none waits in the inbox, and no job waits or runs."""
        for shop in self.shops:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._ask(shop, "quiet")
        await self._until(
            "everything is settled",
            """SELECT NOT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')
                  AND NOT EXISTS (SELECT FROM procrastinate_jobs
                                  WHERE status IN ('todo', 'doing') AND task_name NOT IN ('housekeeping', 'tick'))
                      AS is_so""",
        )
