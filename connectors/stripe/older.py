"""Events that were written in another API version than the one we read: their objects are asked for again.

Our endpoints are pinned, but what stands in the list of events was written in the account's own version and never changes
(docs.stripe.com/api/events/object#event_object-api_version); so was what an endpoint that was added by hand posts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from connectors.base import StoreOptions
from connectors.stripe.client import Client
from connectors.stripe.errors import MISSING_PERMISSION
from connectors.stripe.looks import Looks
from connectors.stripe.webhooks import TOPICS, changes_of_object
from rewards.changes import Change, LookAgain
from rewards.errors import RefusedError

# Where the object of an event is read; of several that fit its type, the first.
_PATHS = (
    ("customer.", "/v1/customers"),
    ("charge.dispute.", "/v1/disputes"),
    ("charge.", "/v1/charges"),
    ("refund.", "/v1/refunds"),
    ("checkout.session.", "/v1/checkout/sessions"),
    ("invoice.", "/v1/invoices"),
    ("promotion_code.", "/v1/promotion_codes"),
    ("coupon.", "/v1/coupons"),
)


class _Deleted(msgspec.Struct, gc=False):
    deleted: bool = False


_raw = msgspec.json.Decoder(msgspec.Raw)
_deleted = msgspec.json.Decoder(_Deleted)


class AllLooks:
    """Looks at what changes ask for: single objects, and what older events tell of."""

    def __init__(self, client: Client, options: StoreOptions) -> None:
        self._client = client
        self._options = options
        self._looks = Looks(client, options.settings)

    async def look(self, thing: LookAgain) -> Sequence[Change]:
        """What there is to say of it; nothing when it is gone. Raises PlatformError."""
        if thing.kind not in TOPICS:
            return await self._looks.look(thing)
        found = await self._object(thing)
        told: list[Change] = []
        for change in changes_of_object(thing.kind, found, self._options) if found else ():
            told += await self._looks.look(change) if isinstance(change, LookAgain) else [change]
        return told

    async def _object(self, thing: LookAgain) -> msgspec.Raw | None:
        """The object as it is now, in our version; None when it is gone, or not for this key to see."""
        path = next(path for start, path in _PATHS if thing.kind.startswith(start))
        try:
            found = await self._client.page(
                f"{path}/{thing.external_id}", {}, _raw, endpoint=f"GET {path}/id"
            )
        except RefusedError as refusal:
            if refusal.code in ("resource_missing", MISSING_PERMISSION):
                return None
            raise
        return None if _deleted.decode(found).deleted else found
