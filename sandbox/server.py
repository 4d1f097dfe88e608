"""What the three stand-ins share: the HTTP server, its faults, the sending of webhooks, and the control routes.

Control routes (JSON, below `/_sandbox`; never part of a platform's API):

GET  /_sandbox/books      what the app must end up with, see `Sandbox.books`
POST /_sandbox/faults     any fields of `Faults`; answers with all of them
POST /_sandbox/checkout   a shopper orders: {"email"| "customer", "subtotal_minor", "code"?}; 200 {"order", "total_minor",
                          "discount_minor"} or 422 {"error": "unknown_code" | "expired" | "used_up" | "wrong_customer"}
POST /_sandbox/sign_up    {"name", "email", "birthday"?: [month, day, year or null]}: opens an account; {"customer"}
POST /_sandbox/refund     {"order", "total_minor"};  POST /_sandbox/cancel {"order"}
POST /_sandbox/replay     sends every webhook so far once more, in an order of its own
POST /_sandbox/quiet      waits until no webhook is on its way; {"pending": 0}
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from sandbox.world import EarningRule, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Faults:
    """What goes wrong next. Counts fall by one per affected request or webhook; the rest holds until changed."""

    spare: int = 0  # so many requests go well before what stands below begins
    throttle: int = 0  # the platform's own "too many requests"
    server_errors: int = 0  # 503 with an HTML body
    cut: int = 0  # the connection is closed in the middle of the answer
    cut_answers: int = 0  # the same, when what was asked for is done already
    malformed: int = 0  # 200 with a body that is no JSON
    refuse_credentials: bool = False  # every request is answered as with a revoked key
    forbid: bool = False  # every request is answered 403
    delay_seconds: float = 0.0
    lose_webhooks: int = 0
    repeat_webhooks: int = 0
    forge_webhooks: int = 0  # beside the genuine one, a copy with another body and the same signature
    reorder_webhooks: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """One webhook post. `key` is what the platform says identifies a delivery (repeats share it)."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    key: str


class Hooks:
    """Sends webhooks in the background, up to eight at a time, and remembers how each was answered."""

    RETRY_SECONDS = 0.5

    def __init__(self, faults: Faults, *, retries: int) -> None:
        self.faults = faults
        self.retries = retries
        self.sent: list[Post] = []
        self.accepted: set[str] = set()
        self.forged_answers: Counter[int] = Counter()  # how often each status was given to a forged post
        self.failed_in_a_row: dict[str, int] = {}
        self.resign: Callable[[Post], Post] = lambda post: (
            post
        )  # platforms that sign the time sign each try anew
        self._random = random.Random(7)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(8)
        self.trusts: ssl.SSLContext | None = None  # whose certificates are believed; None: those of the world
        self._session: aiohttp.ClientSession | None = None

    @property
    def forged_accepted(self) -> int:
        """How many forged posts were taken for genuine."""
        return sum(times for status, times in self.forged_answers.items() if 200 <= status < 300)

    def send(self, post: Post) -> None:
        """Puts a webhook on its way, with whatever the faults make of it."""
        if self.faults.lose_webhooks > 0:
            self.faults.lose_webhooks -= 1
            return
        self.sent.append(post)
        self._launch(post)
        if self.faults.repeat_webhooks > 0:
            self.faults.repeat_webhooks -= 1
            self._launch(post)
        if self.faults.forge_webhooks > 0:
            self.faults.forge_webhooks -= 1
            self._launch(replace(post, body=post.body + b" ", key=""))

    def replay(self) -> int:
        """Sends everything sent so far once more, shuffled; the count."""
        posts = self.sent.copy()
        self._random.shuffle(posts)
        for post in posts:
            self._launch(self.resign(post))
        return len(posts)

    async def quiet(self) -> None:
        """Returns when nothing is on its way any more."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stops sending; what is on its way is lost, as in a power cut."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    def _launch(self, post: Post) -> None:
        task = asyncio.create_task(self._deliver(post))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, post: Post) -> None:
        for attempt in range(self.retries + 1):
            if attempt:
                await asyncio.sleep(self.RETRY_SECONDS * attempt)
            if self.faults.reorder_webhooks:
                await asyncio.sleep(self._random.random() * 0.05)
            async with self._slots:
                status = await self._try(self.resign(post) if post.key else post)
            if self._settled(post, status):
                return

    async def _try(self, post: Post) -> int:
        """The status of one try; 0 when there was no answer."""
        if self._session is None:
            self._session = self.session(5)
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
            async with self._session.post(
                post.url, data=post.body, headers=dict(post.headers), allow_redirects=False
            ) as answer:
                return answer.status
        return 0

    def session(self, seconds: float) -> aiohttp.ClientSession:
        """What the platform calls others with."""
        connector = aiohttp.TCPConnector(ssl=self.trusts or True)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=seconds))

    def _settled(self, post: Post, status: int) -> bool:
        accepted = 200 <= status < 300
        if not post.key:
            self.forged_answers[status] += 1
            return True
        if accepted:
            self.accepted.add(post.key)
        self.failed_in_a_row[post.url] = 0 if accepted else self.failed_in_a_row.get(post.url, 0) + 1
        return accepted


class Sandbox(ABC):
    """One platform's stand-in with one made-up shop. Subclasses add the platform's own routes and rules."""

    platform: str
    webhook_retries: int

    def __init__(self, world: World, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.world = world
        self.clock = clock
        self.faults = Faults()
        self.hooks = Hooks(self.faults, retries=self.webhook_retries)
        self.limiter_on = True
        self.requests = 0
        self.redemptions = 0
        self.url = ""
        self.tls: ssl.SSLContext | None = None  # set before the start: the platform is served by https
        self._runner: web.AppRunner | None = None

    # -- what a platform brings --------------------------------------------------------------------------------------

    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """The platform's API."""

    @abstractmethod
    def connect_answers(self) -> dict[str, str]:
        """What `perennial connect PLATFORM` needs to be told to install this shop, by flag."""

    @abstractmethod
    def codes_in_store(self) -> int:
        """Personal codes that the app has made and that the shop holds now (usable or used)."""

    @abstractmethod
    def place_order(self, body: Mapping[str, object]) -> dict[str, object]:
        """A shopper's checkout; raises CheckoutRefused. Sends the webhooks."""

    @abstractmethod
    def sign_up(self, name: str, email: str, birthday: tuple[int, int, int | None] | None = None) -> str:
        """Somebody opens an account; their customer id. Sends the webhooks."""

    @abstractmethod
    def refund_order(self, order: str, total_minor: int) -> None:
        """Gives money back for an order. Sends the webhooks."""

    @abstractmethod
    def cancel_order(self, order: str) -> None:
        """Cancels an order as the platform does it. Sends the webhooks."""

    @abstractmethod
    def give_up_webhooks(self) -> None:
        """Switches off or deletes all webhooks, as the platform does after too many failures."""

    @abstractmethod
    def throttled(self) -> web.Response:
        """The platform's own answer to too many requests."""

    @abstractmethod
    def refused_credentials(self) -> web.Response:
        """The platform's own answer to a revoked key."""

    def too_fast(self, request: web.Request) -> web.Response | None:
        """The platform's rate limiter; an answer when this request is one too many."""
        return None

    # -- running -----------------------------------------------------------------------------------------------------

    async def start(self, port: int = 0) -> str:
        """Serves on 127.0.0.1; the base URL."""
        app = web.Application(middlewares=[self._with_faults], client_max_size=64 * 1024 * 1024)
        self._add_control(app.router)
        self.add_routes(app.router)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self.tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self.tls else 'http'}://{host}:{port}"
        return self.url

    async def stop(self) -> None:
        """Closes the server and forgets webhooks on their way."""
        await self.hooks.close()
        if self._runner:
            await self._runner.cleanup()

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @web.middleware
    async def _with_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sandbox"):
            return await handler(request)
        self.requests += 1
        faults = self.faults
        if faults.delay_seconds:
            await asyncio.sleep(faults.delay_seconds)
        if faults.spare > 0:
            faults.spare -= 1
        elif (failure := await self._failure(request, handler)) is not None:
            return failure
        limited = self.too_fast(request) if self.limiter_on else None
        return limited or await handler(request)

    async def _failure(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        """What goes wrong with this request, if anything does."""
        faults = self.faults
        if faults.cut > 0:
            faults.cut -= 1
            return await _cut(request)
        if faults.cut_answers > 0:
            faults.cut_answers -= 1
            await handler(request)
            return await _cut(request)
        if faults.server_errors > 0:
            faults.server_errors -= 1
            return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")
        if faults.malformed > 0:
            faults.malformed -= 1
            return web.Response(text='{"half": ', content_type="application/json")
        if faults.forbid:
            return web.json_response({"error": "forbidden"}, status=403)
        if faults.refuse_credentials:
            return self.refused_credentials()
        if faults.throttle > 0:
            faults.throttle -= 1
            return self.throttled()
        return None

    # -- control -----------------------------------------------------------------------------------------------------

    def _add_control(self, router: web.UrlDispatcher) -> None:
        router.add_get("/_sandbox/books", self._books)
        router.add_post("/_sandbox/faults", self._set_faults)
        router.add_post("/_sandbox/checkout", self._checkout)
        router.add_post("/_sandbox/sign_up", self._sign_up)
        router.add_post("/_sandbox/refund", self._refund)
        router.add_post("/_sandbox/cancel", self._cancel)
        router.add_post("/_sandbox/replay", self._replay)
        router.add_post("/_sandbox/quiet", self._quiet)

    def books(self, rule: EarningRule, birthday_lead: int, joining_lead: int) -> dict[str, object]:
        """The shop's own figures. Birthday and joining rewards are counted for the shop's local today."""
        world, today = self.world, self.world.seed.today
        return {
            "platform": self.platform,
            "customers": sum(1 for p in world.people if not p.is_guest),
            "guests": world.guests(),
            "orders": sum(1 for s in world.sales if s.in_history),
            "points_expected": world.expected_points(rule),
            "grants_expected": len(world.birthdays_due(today, birthday_lead))
            + len(world.anniversaries_due(today, joining_lead)),
            "codes_in_store": self.codes_in_store(),
            "redemptions_placed": self.redemptions,
            "webhooks_sent": len(self.hooks.accepted),
            "forged_accepted": self.hooks.forged_accepted,
        }

    async def _books(self, request: web.Request) -> web.Response:
        asked = {name: int(value) for name, value in request.query.items()}
        names = {field.name for field in fields(EarningRule)}
        rule = EarningRule(**{name: value for name, value in asked.items() if name in names})
        return web.json_response(
            self.books(rule, asked.get("birthday_lead", 0), asked.get("joining_lead", 0))
        )

    async def _set_faults(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            if name not in Faults.__slots__:
                return web.json_response({"error": f"no such fault: {name}"}, status=400)
            setattr(self.faults, name, value)
        return web.json_response(asdict(self.faults))

    async def _checkout(self, request: web.Request) -> web.Response:
        try:
            placed = self.place_order(await request.json())
        except CheckoutRefused as refusal:
            return web.json_response({"error": refusal.reason}, status=422)
        return web.json_response(placed)

    async def _sign_up(self, request: web.Request) -> web.Response:
        asked = await request.json()
        born = asked.get("birthday")
        customer = self.sign_up(
            str(asked["name"]), str(asked["email"]), (born[0], born[1], born[2]) if born else None
        )
        return web.json_response({"customer": customer})

    async def _refund(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.refund_order(str(asked["order"]), int(asked["total_minor"]))
        return web.json_response({})

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancel_order(str((await request.json())["order"]))
        return web.json_response({})

    async def _replay(self, request: web.Request) -> web.Response:
        return web.json_response({"sent": self.hooks.replay()})

    async def _quiet(self, request: web.Request) -> web.Response:
        await self.hooks.quiet()
        return web.json_response({"pending": 0})


class CheckoutRefused(Exception):
    """The shop does not take this code; `reason` is one of the four of `/_sandbox/checkout`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def _cut(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await answer.prepare(request)
    await answer.write(b'{"cut"')
    assert request.transport is not None
    request.transport.abort()
    return answer
