"""What a platform's folder must offer. The rest of Perennial knows this module and no platform.

A connector turns bytes and API answers into the records and changes of `rewards/`, and asks the platform for codes.
It raises only errors of `rewards.errors`: RejectedDeliveryError from a WebhookReader, PlatformError from a Store,
InvalidInputError from an InstallFlow.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import aiohttp

from connectors.places import Board, MemoryBoard
from connectors.turns import LocalTurns
from rewards.changes import Change
from rewards.records import (
    Benefit,
    Binding,
    CodeDraft,
    Coupon,
    KnownCode,
    PushedCode,
    ShopFacts,
)

if TYPE_CHECKING:
    from connectors.apps import OperatorsApp
    from connectors.web import WebInstall


class Secret(str):
    """Text that never shows itself in a log line, a traceback or a repr; `.reveal()` gives it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"

    def __str__(self) -> str:
        return "…"

    def __format__(self, spec: str) -> str:
        return "…"

    def reveal(self) -> str:
        """The text itself, for a header, a signature or encryption."""
        return "".join(self)


class Capability(StrEnum):
    """What a platform can do; the core asks for these, never for a platform's name."""

    READ_CUSTOMERS = "read_customers"
    READ_ORDERS = "read_orders"
    READ_COUPONS = "read_coupons"
    WRITE_CODES = "write_codes"
    FREE_SHIPPING = "free_shipping"
    CODES_FOR_GUESTS = "codes_for_guests"  # a personal code can be bound to an e-mail without an account
    CODE_RETURNS_ON_CANCEL = "code_returns_on_cancel"  # a cancelled order gives its code back
    OPEN_CODES = "open_codes"  # single-use codes that whoever holds them can use
    FREE_PRODUCT = "free_product"
    LIMIT_TO_PRODUCTS = "limit_to_products"
    LIMIT_TO_COLLECTIONS = "limit_to_collections"
    FIRST_TIME_ONLY = "first_time_only"
    COMBINES = "combines"  # a code can be used together with other discounts
    SHARED_LIMIT_PER_CUSTOMER = "shared_limit_per_customer"  # a coupon for everybody, once for each customer
    STORE_CREDIT = "store_credit"  # money can be put into a customer's account with the store
    GIFT_CARDS = "gift_cards"
    WRITE_BIRTHDAY = "write_birthday"
    SHOW_POINTS = "show_points"  # a customer's record can show how many points they have
    WEBHOOKS = "webhooks"
    PINGS = "pings"  # the platform calls a webhook's address at once while it is being set up
    # Webhooks may come late, and end without a word: they are looked after, and orders are read, every few minutes.
    LATE_WEBHOOKS = "late_webhooks"
    ORDERS_VANISH = "orders_vanish"  # an order that is deleted for good is told by nothing
    MAINTENANCE = "maintenance"  # something has to be done from time to time even when nobody opens the store


# A setting of a store: its webhooks are set up, and no ping has come yet. A connector may then ask for another.
AWAITS_PING = "awaits_ping"


class Noun(StrEnum):
    """What history is made of, in the order in which it is best read."""

    CUSTOMERS = "customers"
    COUPONS = "coupons"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """One webhook post: header names in lower case, the body's exact bytes, what followed the platform in the path."""

    headers: Mapping[str, str]
    body: bytes
    path_token: str = ""


@dataclass(frozen=True, slots=True)
class StoreClaim:
    """Which store a post says it comes from: our token in the path, or the platform's id. Only a look-up key.

    With both, the token decides, and a post that names another store of ours is refused.
    """

    token: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """The store's facts that change how payloads are read. `settings` are the merchant's, e.g. "birthday_key"."""

    currency: str
    time_zone: str
    settings: Mapping[str, str] = field(default_factory=dict)


class WebhookReader(Protocol):
    """Reads deliveries. Pure: bytes and headers in, changes out."""

    topics: frozenset[str]

    def is_ping(self, delivery: RawDelivery) -> bool:
        """True for an unsigned "are you there" post, which is answered 200 and not kept."""
        ...

    def claimed_store(self, delivery: RawDelivery) -> StoreClaim:
        """Which store this claims to come from. Raises MalformedDeliveryError."""
        ...

    def verify(self, delivery: RawDelivery, secrets: Sequence[Secret], now: datetime) -> None:
        """Returns if any secret signed these bytes, compared in constant time. Raises BadSignatureError."""
        ...

    def delivery_key(self, delivery: RawDelivery) -> str:
        """What is equal for repeats of one delivery and different otherwise, at most 200 characters; never raises."""
        ...

    def topic(self, delivery: RawDelivery) -> str:
        """The platform's own name of what happened, or "" when the post does not say; never raises."""
        ...

    def parse(self, delivery: RawDelivery, options: StoreOptions) -> Sequence[Change]:
        """What happened. A topic left out on purpose gives one Ignored; an unknown one an empty sequence.

        Raises MalformedDeliveryError when the signed body cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A part of one noun's history that is read on its own; `spec` is the connector's, and is JSON.

    `expected`: about how many records it holds, where the platform says so; for showing how far reading has come.
    """

    noun: Noun
    spec: Mapping[str, object]
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some changes of a window and where to go on. `cursor` None: the window is finished.

    `cursor` is JSON and is stored in the transaction that stores the changes. Two equal cursors in a row are an error.
    """

    changes: Sequence[Change]
    cursor: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a platform said when webhooks were set up: ids there, and the secret that will sign.

    `also_signing`: secrets of their own that some of the posts are signed with.
    """

    external_ids: Sequence[str]
    secret: Secret
    also_signing: Sequence[Secret] = ()


class Store(Protocol):
    """One installed store over its API. Raises only PlatformError."""

    async def facts(self) -> ShopFacts:
        """Who the store is, its time zone and currency; also the cheapest check of the credentials."""
        ...

    async def subscribe(self, address: str, secret: Secret) -> Subscription:
        """Asks for all our topics at `address`, replacing what we had there; `secret` is a proposal."""
        ...

    async def is_subscribed(self, address: str) -> bool:
        """True when all our topics are subscribed and switched on at this address."""
        ...

    async def unsubscribe(self, address: str) -> None:
        """Takes our webhooks at `address` out again; fine when there are none."""
        ...

    async def windows(self, noun: Noun, since: datetime | None) -> Sequence[Window]:
        """Parts of about equal work that together hold the noun's history (changed at or after `since`).

        Empty when there is nothing. Windows may overlap: applying a record twice changes nothing.
        """
        ...

    def read(self, window: Window, after: Mapping[str, object] | None) -> AsyncIterator[Page]:
        """The window's pages, from the start or going on after a stored cursor.

        A page may be left standing until other nouns are read and written: no other noun's reading may wait for it.
        """
        ...

    async def push(self, drafts: Sequence[CodeDraft]) -> Sequence[PushedCode]:
        """Makes the codes in the store (at most `Connector.push_size` at once, of open ones `open_push_size`); one answer per draft, in order.

        Repeating a draft finds the code made before instead of making another.
        """
        ...

    async def find(self, codes: Sequence[KnownCode]) -> Sequence[Coupon | None]:
        """Each code as the store holds it now, in order; None where it is gone."""
        ...

    async def revoke(self, code: KnownCode) -> None:
        """Makes the code unusable; fine when it is gone already."""
        ...

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Makes the store hold the code as the draft says, whatever became of it (deleted, edited, switched off)."""
        ...


class Turns(Protocol):
    """The budgets that a platform gives one store, by name, shared by everybody who talks to that store."""

    async def take(self, name: str, *, per_second: float, cost: float = 1.0, burst: float = 0.0) -> None:
        """Returns when `cost` units of the budget may be spent, first come first served.

        It refills by `per_second` (0: no limit) and holds `burst` units more than one; burst 0 gives an even grid.
        """
        ...

    async def correct(self, name: str, *, available: float, per_second: float, burst: float) -> None:
        """Takes over what the platform says is left, less what the caller has on its way there."""
        ...

    async def pause(self, name: str, seconds: float) -> None:
        """Nothing of this budget may be spent before so many seconds have passed."""
        ...


Credentials = Mapping[str, Secret]


class Keeper(Protocol):
    """Renews a store's credentials, so that of all our processes one asks the platform at a time."""

    async def renew(
        self, stale: Credentials, ask: Callable[[Credentials], Awaitable[Credentials]]
    ) -> Credentials:
        """All credentials of the store, newer than `stale`: another's renewal since then, or what `ask` gives.

        `ask` gets the stored ones and gives all that shall be stored, which is done before anything else can fail;
        it must not wait for a turn. Raises what `ask` raises (then nothing is stored), and AccessRevokedError when
        the store was uninstalled meanwhile.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """What opens one store's API. `external_id` is the platform's id of the store; `api_base` a base URL or None.

    Without a keeper (before the store is installed) renewed credentials are lost with the process.
    """

    external_id: str
    credentials: Credentials
    options: StoreOptions
    api_base: str | None = None
    turns: Turns = field(default_factory=LocalTurns)
    board: Board = field(default_factory=MemoryBoard)
    keeper: Keeper | None = None
    # The operator's settings of this platform's app, names in lower case ("client_id"); empty where there is no app.
    app: Mapping[str, Secret] = field(default_factory=dict)
    # What the platform calls the webhooks whose secrets we hold (`Subscription.external_ids`); None when nobody says.
    subscription_ids: Sequence[str] | None = None
    # Whether a delivery with this key has come, so that what is waited for need not be asked for; None: nobody knows.
    has_come: Callable[[str], Awaitable[bool]] | None = None


@dataclass(frozen=True, slots=True)
class InstallOption:
    """One thing that `perennial connect` asks for; `flag` is its command-line name without dashes."""

    flag: str
    help: str
    is_secret: bool = False
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Installation:
    """Answers turned into what is stored: credentials are encrypted, the rest is not."""

    external_id: str
    credentials: Mapping[str, Secret]
    api_base: str | None = None
    # Secrets that sign this store's webhooks and are known before any subscription.
    webhook_secrets: Sequence[Secret] = ()
    # The path of the webhook address holds our token of the store: on platforms whose posts do not name it safely.
    settings: Mapping[str, str] = field(default_factory=dict)


class InstallFlow(Protocol):
    """How a merchant hands over access. Knows nothing of Quart or of our tables."""

    options: Sequence[InstallOption]

    async def installation(self, answers: Mapping[str, str], session: aiohttp.ClientSession) -> Installation:
        """Checks what can be checked before anything is stored. Raises InvalidInputError or PlatformError."""
        ...


@dataclass(frozen=True, slots=True)
class Connector:
    """A platform: what it can do and the pieces that do it."""

    platform: str
    capabilities: frozenset[Capability]
    webhooks: WebhookReader
    install: InstallFlow
    open_store: Callable[[StoreAccess, aiohttp.ClientSession], Store]
    push_size: int
    default_settings: Mapping[str, str] = field(default_factory=dict)
    # In plain words, for merchants: what this platform cannot do, or what a choice means there.
    explains: Mapping[Capability | Binding, str] = field(default_factory=dict)
    # How many open codes one push takes, where many of them share a discount and cost less together.
    open_push_size: int | None = None
    # How many pushes may be under way at a time: more than one where none of them makes what another looks for first.
    pushes_at_once: int = 1
    # Why this platform cannot give a benefit that its capabilities allow, in words for the merchant; None when it can.
    # The settings are the store's: its own limits are among them.
    refuses: Callable[[Benefit, Mapping[str, str]], str | None] = lambda benefit, settings: None
    # What of the capabilities a store with these settings lacks, and in words for the merchant what to do about it.
    lacks: Callable[[Mapping[str, str]], Mapping[Capability, str]] = lambda settings: {}
    # What of a store's settings cannot be meant, in words that say what to write instead.
    wrong_settings: Callable[[Mapping[str, str]], Sequence[str]] = lambda settings: ()
    web: WebInstall | None = None  # pages for merchants, below /install/<platform>
    # Which of the operator's settings sign webhooks of every store, beside what a store's own secrets sign.
    app_secrets: Sequence[str] = ()
    operators_app: OperatorsApp | None = None
    # Whether they sign for a store of these settings. One connected otherwise may have the operator's app beside it.
    app_signs: Callable[[Mapping[str, str]], bool] = lambda settings: True
