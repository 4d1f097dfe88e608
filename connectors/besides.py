"""What a platform's Store or InstallFlow may offer besides what every one does (`connectors.base`): asked for by `isinstance`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import aiohttp

from connectors.base import Installation
from rewards.changes import Change, LookAgain
from rewards.records import Benefit, Birthday, CodeDraft, HeldValue


@runtime_checkable
class WritesBirthdays(Protocol):
    """What a Store offers besides where its platform has Capability.WRITE_BIRTHDAY. Raises only PlatformError."""

    async def write_birthday(self, customer_external_id: str, birthday: Birthday) -> None:
        """Writes the birthday into the customer's record, where its payloads are read from; no year where none is known.

        Raises RefusedError when the customer is gone.
        """
        ...


@runtime_checkable
class ShowsPoints(Protocol):
    """What a Store offers besides where its platform has Capability.SHOW_POINTS. Raises only PlatformError."""

    async def show_points(self, points: Mapping[str, int]) -> Mapping[str, str]:
        """Writes into each customer's record (by external id) how many points they have.

        Gives the reason for each customer whose record does not take it. Raises RefusedError when none does.
        """
        ...


@runtime_checkable
class ChecksBenefits(Protocol):
    """What a Store offers besides whose platform takes a code for products that it does not have. Raises only PlatformError."""

    async def missing(self, benefit: Benefit) -> Sequence[str]:
        """What the benefit names and the store does not have, in words ("product 7"); empty when all is there."""
        ...


@runtime_checkable
class GivesValues(Protocol):
    """What a Store offers besides where its platform has Capability.STORE_CREDIT or GIFT_CARDS. Raises only PlatformError.

    Asking twice may give twice: whoever asks has it on record before, one asks at a time, and looks before asking again.
    A draft is one whose benefit is a value; what was given goes by the id that `give` and `look_for` answered.
    """

    async def give(self, draft: CodeDraft, asked_at: datetime) -> str:
        """Gives it, and says by which id the store knows it. `asked_at` is what stands on record: now.

        Raises RefusedError when it was not given and never will be, and RetryLaterError when it may have been given.
        """
        ...

    async def look_for(self, draft: CodeDraft, asked_at: datetime, others: Collection[str]) -> str | None:
        """What the `give` of that time gave; None when it gave nothing for certain. `others` are what was given besides.

        Raises RetryLaterError while it cannot be known yet, and RefusedError when it cannot be known at all: then
        nothing more must be given.
        """
        ...

    async def held(self, values: Sequence[tuple[CodeDraft, str]]) -> Sequence[HeldValue | None]:
        """Each value as the store holds it now, in order, at most `Connector.push_size`; None where it is gone."""
        ...

    async def take_back(self, draft: CodeDraft, external_id: str, asked_at: datetime | None) -> int:
        """Takes back what is left of it, and says how much that was, in minor units; fine when nothing is left.

        `asked_at` is when that was asked for before, without an answer. Raises RefusedError when it cannot be taken back.
        """
        ...


@runtime_checkable
class LooksAgain(Protocol):
    """What a Store offers besides where its deliveries may say LookAgain. Raises only PlatformError."""

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What there is to say of the thing now; nothing when it is gone."""
        ...


@runtime_checkable
class ForgetsOrders(Protocol):
    """What a Store offers besides where its platform has Capability.ORDERS_VANISH. Raises only PlatformError."""

    async def count_orders(self, first: datetime, end: datetime) -> int:
        """How many orders the store holds that were placed from `first` on and before `end` (whole seconds)."""
        ...

    async def vanished(self, external_ids: Sequence[str]) -> Sequence[str]:
        """Those of these orders, at most 100, that the store holds no more, or only in its trash."""
        ...


@runtime_checkable
class NeedsMaintenance(Protocol):
    """What a Store offers besides where its platform has Capability.MAINTENANCE. Raises only PlatformError."""

    async def maintain(self) -> None:
        """Does what keeps the access alive, such as renewing a token that ends soon; does nothing when nothing is due.

        Asked for every 15 minutes for each active store: what is not due must cost no request.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadingEstimate:
    """About what reading a store's whole past takes. `note`: in plain words, what the platform allows of it."""

    requests: int
    seconds: float  # at the pace that the platform allows
    note: str


@runtime_checkable
class EstimatesReading(Protocol):
    """What a Store offers besides whose platform counts how much is read. Raises only PlatformError."""

    async def estimate(self) -> ReadingEstimate:
        """What reading everything would take; asking takes a few requests itself."""
        ...


@dataclass(frozen=True, slots=True)
class Traces:
    """What is in a store that shows which one it is, wherever it is.

    `tokens` are those in the addresses of webhooks for us: only the store that we gave one holds it, or its copy. `mark`
    is the platform's own id of it, which is no secret; "" where there is none.
    """

    tokens: Sequence[str] = ()
    mark: str = ""


# A setting of a store: its mark (see Traces), as the store last said.
MARK = "store_mark"


@runtime_checkable
class FollowsMoves(Protocol):
    """What an InstallFlow offers besides whose stores are known by an address that may change."""

    async def traces(self, installation: Installation, session: aiohttp.ClientSession) -> Traces:
        """What the store at the new address holds. Raises PlatformError."""
        ...

    async def has_left(self, former: str, installation: Installation, session: aiohttp.ClientSession) -> bool:
        """True when the store can no longer be at `former`, an external id; False when in doubt."""
        ...
