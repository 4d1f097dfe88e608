"""Past customers, coupons and purchases, in parallel windows of `created` time.

Lists come newest first, a hundred at a time, with a cursor and without a total, and know no "changed since". So a
noun's time is cut where about equal numbers of objects lie between, judged from a few pages asked for at evenly spaced
moments; the first and the last window are open-ended, so that nothing can fall beside them. What changed later is
read from the list of events, which goes back 30 days.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from connectors.base import Noun, Page, StoreOptions, Window
from connectors.stripe import birthdays, mapping
from connectors.stripe.billing import EXPAND_INVOICE, Dispute, Invoice, dispute_saved, order_of_invoice
from connectors.stripe.client import Client
from connectors.stripe.errors import MISSING_PERMISSION
from connectors.stripe.looks import FilledSession, birthday_in
from connectors.stripe.older import AllLooks
from connectors.stripe.webhooks import TOPICS_BY_NOUN, changes_of_event
from connectors.windows import even, tapering
from rewards.changes import Change, Ignored, LookAgain
from rewards.errors import RefusedError

PAGE = 100
EVENT_DAYS = 30
_PROBES = 8
_PROBE_PAGE = 50
_PROBE_ROUNDS = 4
_OVERHEAD = 60  # probes, and pages that are not full
_OLDEST = int(datetime.fromisoformat("2011-01-01T00:00:00+00:00").timestamp())  # no Stripe account is older


class _Stub(msgspec.Struct, gc=False):
    created: int


class _Stubs(msgspec.Struct, gc=False):
    data: list[_Stub]
    has_more: bool


class _Customers(msgspec.Struct, gc=False):
    data: list[mapping.CustomerObject]
    has_more: bool


class _Charges(msgspec.Struct, gc=False):
    data: list[mapping.Charge]
    has_more: bool


class _Sessions(msgspec.Struct, gc=False):
    data: list[mapping.Session]
    has_more: bool


class _Refunds(msgspec.Struct, gc=False):
    data: list[mapping.RefundObject]
    has_more: bool


class _FilledSessions(msgspec.Struct, gc=False):
    data: list[FilledSession]
    has_more: bool


class _Disputes(msgspec.Struct, gc=False):
    data: list[Dispute]
    has_more: bool


class _Invoices(msgspec.Struct, gc=False):
    data: list[Invoice]
    has_more: bool


class _Coupons(msgspec.Struct, gc=False):
    data: list[mapping.CouponObject]
    has_more: bool


class _Codes(msgspec.Struct, gc=False):
    data: list[mapping.PromotionCode]
    has_more: bool


class _Events(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]
    has_more: bool


class _EventData(msgspec.Struct, gc=False):
    object: mapping.Deleted


class _EventIds(msgspec.Struct, gc=False):
    id: str
    data: _EventData


@dataclass(frozen=True)
class _Listing:
    """One list of the API: where it is, its shape, what is asked of it, and what its objects become."""

    path: str
    decoder: msgspec.json.Decoder[Any]
    change: Callable[[Any, StoreOptions], Change]
    params: Mapping[str, str] = field(default_factory=dict)
    is_optional: bool = False  # a key without the permission for it reads the rest
    is_rare: bool = False  # most accounts have none: read only where there is one


_LISTINGS = {
    "customers": _Listing(
        "/v1/customers",
        msgspec.json.Decoder(_Customers),
        lambda found, options: mapping.customer_saved(found, options.settings),
    ),
    "charges": _Listing(
        "/v1/charges", msgspec.json.Decoder(_Charges), lambda charge, _: mapping.order_of_charge(charge)
    ),
    "sessions": _Listing(
        "/v1/checkout/sessions",
        msgspec.json.Decoder(_Sessions),
        lambda session, _: mapping.order_of_session(session),
        {"status": "complete"},
    ),
    "refunds": _Listing(
        "/v1/refunds", msgspec.json.Decoder(_Refunds), lambda refund, _: mapping.refund_saved(refund)
    ),
    "disputes": _Listing(
        "/v1/disputes",
        msgspec.json.Decoder(_Disputes),
        lambda dispute, _: dispute_saved(dispute),
        is_optional=True,
    ),
    # For the codes that were used on them: what was paid is told by their charges.
    "invoices": _Listing(
        "/v1/invoices",
        msgspec.json.Decoder(_Invoices),
        lambda invoice, _: order_of_invoice(invoice),
        {"status": "paid", **{f"expand[{i}]": f"data.{name}" for i, name in enumerate(EXPAND_INVOICE)}},
        is_optional=True,
        is_rare=True,
    ),
    "coupons": _Listing(
        "/v1/coupons",
        msgspec.json.Decoder(_Coupons),
        lambda coupon, _: mapping.coupon_saved(coupon),
        {"expand[]": "data.applies_to"},
    ),
    "promotion_codes": _Listing(
        "/v1/promotion_codes",
        msgspec.json.Decoder(_Codes),
        lambda code, _: mapping.code_saved(code),
        {"expand[]": "data.promotion.coupon.applies_to"},
    ),
}

# The same list where birthdays are typed at Checkout; else nothing of the fields is looked at.
_FILLED_SESSIONS = replace(_LISTINGS["sessions"], decoder=msgspec.json.Decoder(_FilledSessions))

# Which list tells where a noun's objects lie in time, and how each of its lists is cut; each window costs about half a
# page more. Those that are read last taper off.
_Cut = Callable[[int], Sequence[int]]
_PLANS: Mapping[Noun, tuple[str, Mapping[str, _Cut]]] = {
    Noun.CUSTOMERS: ("customers", {"customers": even}),
    Noun.COUPONS: ("promotion_codes", {"coupons": partial(even, parts=1), "promotion_codes": even}),
    Noun.ORDERS: (
        "charges",
        {
            "disputes": partial(even, parts=1),
            "refunds": partial(even, parts=2),
            "invoices": even,
            "sessions": even,
            "charges": partial(tapering, least=3),
        },
    ),
}

_stubs = msgspec.json.Decoder(_Stubs)
_events = msgspec.json.Decoder(_Events)
_event_ids = msgspec.json.Decoder(_EventIds)


@dataclass(frozen=True)
class Density:
    """About how many objects were created in each stretch between `edges`; one count less than edges."""

    edges: Sequence[int]
    counts: Sequence[float]

    @property
    def pages(self) -> int:
        """About how many pages all of it fills, one at least."""
        return int(sum(self.counts) // PAGE) + 1

    def cuts(self, sizes: Sequence[int]) -> list[int]:
        """The moments that cut the whole into parts of about these sizes, each a number of pages."""
        total = sum(self.counts)
        cuts, passed, stretch = [], 0.0, 0
        for read in accumulate(sizes[:-1]):
            goal = total * read / sum(sizes)
            while stretch < len(self.counts) - 1 and passed + self.counts[stretch] < goal:
                passed += self.counts[stretch]
                stretch += 1
            start, end = self.edges[stretch], self.edges[stretch + 1]
            share = (goal - passed) / self.counts[stretch] if self.counts[stretch] else 0.0
            cuts.append(start + round((end - start) * share))
        return sorted(set(cuts))


class History:
    """Reads one account's past."""

    def __init__(self, client: Client, options: StoreOptions, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._looks = AllLooks(client, options)

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """Parts of about equal work; with `since` also the events that tell what changed in older objects.

        Everything, where events do not go back so far.
        """
        if since and since < self._clock() - timedelta(days=EVENT_DAYS):
            since = None
        probe, plan = _PLANS[noun]
        start = int(since.timestamp()) if since else None
        density, absent = await asyncio.gather(
            self._density(_LISTINGS[probe], start), self._absent(plan, start)
        )
        found = []
        for name, cut in plan.items():
            if name in absent:
                continue
            edges = [start, *density.cuts(cut(density.pages)), None]
            found += [Window(noun, {"list": name, "gte": gte, "lt": lt}) for gte, lt in pairwise(edges)]
        if since:
            found.append(Window(noun, {"list": "events", "gte": start, "lt": None}))
        return found

    async def reads(self) -> int:
        """About how many requests reading everything takes."""
        charges, customers, any_invoice = await asyncio.gather(
            self._density(_LISTINGS["charges"], None),
            self._density(_LISTINGS["customers"], None),
            self._holds_any(_LISTINGS["invoices"], None),
        )
        # Sessions, and invoices where there are any, are at most about as many as charges; each window costs about half
        # a page more.
        return (3 if any_invoice else 2) * charges.pages + customers.pages + _OVERHEAD

    async def _absent(self, names: Iterable[str], start: int | None) -> set[str]:
        """Those of the lists that may hold nothing, and do."""
        rare = [name for name in names if _LISTINGS[name].is_rare]
        found = await asyncio.gather(*(self._holds_any(_LISTINGS[name], start) for name in rare))
        return {name for name, holds in zip(rare, found, strict=True) if not holds}

    async def _holds_any(self, listing: _Listing, start: int | None) -> bool:
        """True when the list holds something since then; False as well for a key that may not read it."""
        params = {**_plain(listing), **_range(start, None, 1)}
        try:
            return bool((await self._client.page(listing.path, params, _stubs)).data)
        except RefusedError as refusal:
            if listing.is_optional and refusal.code == MISSING_PERMISSION:
                return False
            raise

    async def recent_payments(self, since: datetime) -> int:
        """How many charges there were since, 100 at most."""
        found = await self._client.page(
            _LISTINGS["charges"].path, _range(int(since.timestamp()), None), _stubs
        )
        return len(found.data)

    async def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """The window's pages, newest first; events from their start again, see `_events`."""
        name = str(window.spec["list"])
        limits = _range(window.spec.get("gte"), window.spec.get("lt"))
        if name == "events":
            async for page in self._events(window.noun, limits):
                yield page
            return
        listing, options = self._listing(name), self._options
        following: asyncio.Task[Any] | None = self._fetch(listing, limits, after and after["starting_after"])
        try:
            while following is not None:
                try:
                    found = await following
                except RefusedError as refusal:
                    if listing.is_optional and refusal.code == MISSING_PERMISSION:
                        yield Page((), None)
                        return
                    raise
                last = found.data[-1].id if found.data and found.has_more else None
                # The next page is on its way while this one is being used.
                following = self._fetch(listing, limits, last) if last else None
                changes = [
                    made for each in found.data if type(made := listing.change(each, options)) is not Ignored
                ]
                if listing is _FILLED_SESSIONS:
                    changes += await self._told(birthday_in(each, options.settings) for each in found.data)
                yield _page(changes, last)
        finally:
            if following is not None:
                following.cancel()

    def _listing(self, name: str) -> _Listing:
        is_filled = name == "sessions" and self._options.settings.get(birthdays.FIELD)
        return _FILLED_SESSIONS if is_filled else _LISTINGS[name]

    async def _told(self, changes: Iterable[Change]) -> list[Change]:
        """The changes, what is to be looked at again asked for, and without what has no effect."""
        told: list[Change] = []
        for change in changes:
            if isinstance(change, LookAgain):
                told += await self._looks.look(change)
            else:
                told.append(change)
        return [change for change in told if type(change) is not Ignored]

    def _fetch(self, listing: _Listing, limits: Mapping[str, str], last: object) -> asyncio.Task[Any]:
        params = {**listing.params, **limits}
        if last:
            params["starting_after"] = str(last)
        task = asyncio.ensure_future(self._client.page(listing.path, params, listing.decoder))
        # Fetched for nothing when reading stops or fails: then nobody else looks at how it ended.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _events(self, noun: Noun, limits: Mapping[str, str]) -> AsyncIterator[Page]:
        """What events say, each object's latest only: they come newest first and have no version to compare.

        Which objects were seen is not part of the cursor, so a window that was broken off is read from its start.
        """
        params = {**limits, **{f"types[{i}]": topic for i, topic in enumerate(TOPICS_BY_NOUN[noun.value])}}
        seen: set[str] = set()
        while True:
            found = await self._client.page("/v1/events", params, _events)
            changes: list[Change] = []
            last = None
            for raw in found.data:
                event = _event_ids.decode(raw)
                last = event.id
                if event.data.object.id not in seen:
                    seen.add(event.data.object.id)
                    changes += changes_of_event(raw, self._options)
            last = last if found.has_more else None
            yield _page(await self._told(changes), last)
            if last is None:
                return
            params["starting_after"] = last

    async def _density(self, listing: _Listing, start: int | None) -> Density:
        """Where the objects lie, judged at moments that halve the time up to now; closer in if most of it is empty."""
        low = start if start is not None else _OLDEST
        # On whole hours, so that an import that starts anew soon after has the same windows.
        high = (int(self._clock().timestamp()) // 3600 + 1) * 3600
        for _ in range(_PROBE_ROUNDS):
            edges = [*(high - ((high - low) >> halvings) for halvings in range(_PROBES)), high]
            pages = await asyncio.gather(*(self._probe(listing, start, edge) for edge in edges[1:]))
            if not pages[-1].has_more:
                return Density((low, high), (len(pages[-1].data),))
            density = Density(edges, _counts(pages, edges))
            empty = sum(1 for page in pages if not page.data)
            if empty < _PROBES // 2:
                break
            low = edges[empty]
        return density

    async def _probe(self, listing: _Listing, gte: int | None, lt: int) -> _Stubs:
        return await self._client.page(
            listing.path, {**_plain(listing), **_range(gte, lt, _PROBE_PAGE)}, _stubs
        )


def _counts(pages: Sequence[_Stubs], edges: Sequence[int]) -> list[float]:
    """About how many objects lie between two edges each, from the newest ones before the later edge.

    A page that reaches back to the earlier edge tells exactly; else the rate is taken to change evenly in between.
    """
    counts, earlier = [], 0.0
    for page, (start, end) in zip(pages, pairwise(edges), strict=True):
        oldest = page.data[-1].created if page.data else end
        rate = len(page.data) / max(1, end - oldest)
        if oldest < start or not page.has_more:
            counts.append(float(sum(1 for stub in page.data if stub.created >= start)))
        else:
            counts.append((earlier + rate) / 2 * (end - start))
        earlier = rate
    return counts


def _plain(listing: _Listing) -> dict[str, str]:
    """What is asked without expanding anything: the moment of creation is enough."""
    return {name: value for name, value in listing.params.items() if not name.startswith("expand")}


def _range(gte: object, lt: object, size: int = PAGE) -> dict[str, str]:
    params = {"limit": str(size)}
    if gte is not None:
        params["created[gte]"] = str(gte)
    if lt is not None:
        params["created[lt]"] = str(lt)
    return params


def _page(changes: Sequence[Change], last: str | None) -> Page:
    return Page(changes, {"starting_after": last} if last else None)
