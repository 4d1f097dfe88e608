"""Personal codes as WooCommerce coupons: made, found, switched off, mended; every answer is read back and compared.

The shop takes a bad e-mail restriction or date in silence, which would make a coupon for everybody or a dead one:
such a coupon is removed and reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from connectors.base import StoreOptions
from connectors.woocommerce.client import Client
from connectors.woocommerce.coupon_mapping import (
    COUPON_FIELDS,
    CouponData,
    ItemError,
    batch_answer,
    coupon,
    coupon_body,
    differences,
    unfit,
)
from rewards.errors import RefusedError, RetryLaterError
from rewards.records import CodeDraft, Coupon, KnownCode, PushedCode

PUSH_SIZE = 100
_PATH = "wc/v3/coupons"
_TAKEN = "woocommerce_rest_coupon_code_already_exists"
_GONE = "woocommerce_rest_shop_coupon_invalid_id"
_LONG_AGO, _LONG_AGO_GMT = "2000-01-01T00:00:00", "2000-01-03"  # shop local; later than that anywhere
_ONE = msgspec.json.Decoder(CouponData)
_MANY = msgspec.json.Decoder(list[CouponData])


class Coupons:
    """The personal codes of one shop."""

    def __init__(self, client: Client, options: StoreOptions) -> None:
        self._client = client
        self._options = options

    async def push(self, drafts: Sequence[CodeDraft]) -> list[PushedCode]:
        """One batch call for all drafts that fit, plus one look-up for each code that exists already."""
        reasons = [unfit(draft, self._options) for draft in drafts]
        fit = [draft for draft, reason in zip(drafts, reasons, strict=True) if reason is None]
        items = iter(await self._create(fit) if fit else [])
        return list(
            await asyncio.gather(
                *(
                    _refused(draft, reason) if reason else self._settle(draft, next(items))
                    for draft, reason in zip(drafts, reasons, strict=True)
                )
            )
        )

    async def _create(self, drafts: Sequence[CodeDraft]) -> list[CouponData | ItemError]:
        body = {"create": [coupon_body(draft, self._options) for draft in drafts]}
        made = await self._client.send("POST", f"{_PATH}/batch", body, batch_answer)
        if len(made) != len(drafts):
            raise RetryLaterError("The shop answered a batch of coupons only in part.")
        return made

    async def _settle(self, draft: CodeDraft, item: CouponData | ItemError) -> PushedCode:
        """What became of one draft of a batch."""
        if isinstance(item, CouponData):
            return await self._checked(draft, item)
        if item.code != _TAKEN:
            return await _refused(draft, f"the shop says {item.code}")
        found = await self._by_code(draft.code)
        if found is None:
            raise RetryLaterError("The shop has just removed a coupon that is wanted.")
        if found.grant != draft.idempotency_key:
            return await _refused(draft, "the shop has another coupon with this code")
        return await self._checked(draft, found)

    async def _checked(self, draft: CodeDraft, data: CouponData) -> PushedCode:
        """The code if the coupon is as asked; otherwise the coupon goes again, as anybody might use it."""
        wrong = differences(data, draft, self._options)
        if not wrong:
            return PushedCode(draft.code, external_id=str(data.id))
        await self._remove(data.id)
        return await _refused(draft, f"the shop changed its {', '.join(wrong)}; the coupon was removed again")

    async def _remove(self, number: int) -> None:
        try:
            await self._client.send("DELETE", f"{_PATH}/{number}", None, bytes, {"force": "true"})
        except RefusedError as error:
            if error.code != _GONE:
                raise

    async def find(self, codes: Sequence[KnownCode]) -> list[Coupon | None]:
        """Up to a hundred ids in one call; a code without an id is looked up by its text. The trash counts as gone."""
        ids = [known.external_id for known in codes if known.external_id]
        by_id: dict[str, CouponData] = {}
        for start in range(0, len(ids), PUSH_SIZE):
            params = {"include": ",".join(ids[start : start + PUSH_SIZE]), "per_page": str(PUSH_SIZE)}
            page = await self._client.get(_PATH, _MANY.decode, {**params, "_fields": COUPON_FIELDS})
            by_id |= {str(data.id): data for data in page.value}
        found: list[Coupon | None] = []
        for known in codes:
            data = by_id.get(known.external_id) if known.external_id else await self._by_code(known.code)
            found.append(coupon(data, self._options) if data and data.status != "trash" else None)
        return found

    async def revoke(self, code: KnownCode) -> None:
        """Makes it a draft. Shops before late 2025 ignore that in silence: there it expires in the past instead."""
        number = code.external_id
        if number is None:
            found = await self._by_code(code.code)
            if found is None:
                return
            number = str(found.id)
        changed = await self._change(number, {"status": "draft"})
        if changed is None or changed.status in ("draft", "trash"):
            return
        changed = await self._change(number, {"date_expires": _LONG_AGO})
        if changed is not None and (changed.date_expires_gmt or "9999") > _LONG_AGO_GMT:
            raise RefusedError("The shop does not let us switch the coupon off; remove it by hand.")

    async def restore(self, draft: CodeDraft, known: KnownCode) -> PushedCode:
        """Writes all fields over the coupon that is there, or makes a new one."""
        reason = unfit(draft, self._options)
        if reason:
            return await _refused(draft, reason)
        there = await self._current(draft, known)
        if there is not None:
            changed = await self._change(str(there.id), coupon_body(draft, self._options))
            if changed is not None:
                return await self._checked(draft, changed)
        return (await self.push([draft]))[0]

    async def _current(self, draft: CodeDraft, known: KnownCode) -> CouponData | None:
        """The coupon to mend: ours by id unless it is in the trash, else ours by code (made anew by hand or by us)."""
        there = await self._by_id(known.external_id) if known.external_id else None
        if there is not None and there.status != "trash":
            return there
        found = await self._by_code(draft.code)
        return found if found and found.grant == draft.idempotency_key else None

    async def _change(self, number: str, body: Mapping[str, object]) -> CouponData | None:
        """Writes some fields and reads them back; None when there is no such coupon."""
        try:
            return await self._client.send("PUT", f"{_PATH}/{number}", body, _ONE.decode)
        except RefusedError as error:
            if error.code == _GONE:
                return None
            raise

    async def _by_id(self, number: str) -> CouponData | None:
        """Whatever its status: a list may leave out drafts."""
        try:
            return (await self._client.get(f"{_PATH}/{number}", _ONE.decode)).value
        except RefusedError as error:
            if error.code == _GONE:
                return None
            raise

    async def _by_code(self, code: str) -> CouponData | None:
        params = {"code": code.lower(), "_fields": COUPON_FIELDS}
        page = (await self._client.get(_PATH, _MANY.decode, params)).value
        return page[0] if page else None


async def _refused(draft: CodeDraft, reason: str) -> PushedCode:
    return PushedCode(draft.code, refused=reason)
