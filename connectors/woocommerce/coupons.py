"""Personal codes as WooCommerce coupons: made, found, switched off, mended; every answer is read back and compared.

The shop takes a bad e-mail restriction or date in silence, which would make a coupon for everybody or a dead one:
such a coupon is removed and reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from connectors.base import StoreOptions
from connectors.woocommerce.catalogue import Catalogue, names_one
from connectors.woocommerce.client import Client
from connectors.woocommerce.coupon_mapping import (
    COUPON_FIELDS,
    CouponData,
    ItemError,
    batch_answer,
    coupon,
    coupon_body,
    differences,
    removal_answer,
    unfit,
)
from connectors.woocommerce.mapping import SettingData
from rewards.errors import AccessRevokedError, RefusedError, RetryLaterError
from rewards.records import Benefit, CodeDraft, Coupon, KnownCode, PushedCode

PUSH_SIZE = 100
_PATH = "wc/v3/coupons"
_TAKEN = "woocommerce_rest_coupon_code_already_exists"
_GONE = "woocommerce_rest_shop_coupon_invalid_id"
_LONG_AGO, _LONG_AGO_GMT = "2000-01-01T00:00:00", "2000-01-03"  # shop local; later than that anywhere
_SWITCH = "wc/v3/settings/general/woocommerce_enable_coupons"
_SETTING = msgspec.json.Decoder(SettingData)
_ONE = msgspec.json.Decoder(CouponData)
_MANY = msgspec.json.Decoder(list[CouponData])


@dataclass(frozen=True, slots=True)
class _Bent:
    """A coupon that the shop made otherwise than asked: its id, and in what it is wrong."""

    code: str
    number: int
    wrong: Sequence[str]


class Coupons:
    """The personal codes of one shop."""

    def __init__(self, client: Client, options: StoreOptions) -> None:
        self._client = client
        self._options = options
        self._catalogue = Catalogue(client)

    async def missing(self, benefit: Benefit) -> list[str]:
        """What it names and the shop does not have."""
        return await self._catalogue.missing([benefit])

    async def notices(self) -> tuple[str, ...]:
        """What stops all codes. A key whose user may not see the shop's settings is no reason to stop."""
        try:
            setting = (await self._client.get(_SWITCH, _SETTING.decode)).value
        except (RefusedError, AccessRevokedError):
            return ()
        if setting.value != "no":
            return ()
        return (
            "Coupons are switched off in the shop, so no code works there: switch them on under WooCommerce, Settings, "
            "General, Enable coupons.",
        )

    async def push(self, drafts: Sequence[CodeDraft]) -> list[PushedCode]:
        """One batch call for all drafts that fit, plus one look-up for each code that exists already."""
        reasons = await self._unfit(drafts)
        fit = [draft for draft, reason in zip(drafts, reasons, strict=True) if reason is None]
        made = await self._create(fit) if fit else []
        settled = await asyncio.gather(*map(self._settle, fit, made))
        kept = iter(await self._without_bent(settled))
        return [
            PushedCode(draft.code, refused=reason) if reason else next(kept)
            for draft, reason in zip(drafts, reasons, strict=True)
        ]

    async def _unfit(self, drafts: Sequence[CodeDraft]) -> list[str | None]:
        """Why each cannot become a coupon, or None; the shop is asked for products that it was not asked for before."""
        reasons = [unfit(draft, self._options) for draft in drafts]
        fit = [draft.benefit for draft, reason in zip(drafts, reasons, strict=True) if reason is None]
        missing = await self._catalogue.missing(fit)
        return [
            reason or _lacks(names_one(draft.benefit, missing))
            for draft, reason in zip(drafts, reasons, strict=True)
        ]

    async def _create(self, drafts: Sequence[CodeDraft]) -> list[CouponData | ItemError]:
        body = {"create": [coupon_body(draft, self._options) for draft in drafts]}
        made = await self._client.send("POST", f"{_PATH}/batch", body, batch_answer)
        if len(made) != len(drafts):
            raise RetryLaterError("The shop answered a batch of coupons only in part.")
        return made

    async def _settle(self, draft: CodeDraft, item: CouponData | ItemError) -> PushedCode | _Bent:
        """What became of one draft of a batch. One made before is ours if it holds our key, and is mended if need be."""
        if isinstance(item, CouponData):
            return self._checked(draft, item)
        if item.code != _TAKEN:
            return PushedCode(draft.code, refused=f"the shop says {item.code}")
        found = await self._by_code(draft.code)
        if found is None:
            return PushedCode(draft.code, refused="the shop has this code already, but does not show it")
        if found.grant != draft.idempotency_key:
            return PushedCode(draft.code, refused="the shop has another coupon with this code")
        if differences(found, draft, self._options):
            found = await self._change(str(found.id), coupon_body(draft, self._options)) or found
        return self._checked(draft, found)

    def _checked(self, draft: CodeDraft, data: CouponData) -> PushedCode | _Bent:
        wrong = differences(data, draft, self._options)
        return (
            _Bent(draft.code, data.id, wrong) if wrong else PushedCode(draft.code, external_id=str(data.id))
        )

    async def _without_bent(self, settled: Sequence[PushedCode | _Bent]) -> list[PushedCode]:
        """Takes the coupons that are not as asked out of the shop, in one call: anybody might use them."""
        bent = [one.number for one in settled if isinstance(one, _Bent)]
        stuck = await self._remove(bent) if bent else frozenset()
        return [_report(one, one.number in stuck) if isinstance(one, _Bent) else one for one in settled]

    async def _remove(self, numbers: Sequence[int]) -> frozenset[int]:
        """Removes coupons for good; those that the shop keeps."""
        body = {"delete": list(numbers), "force": True}
        errors = await self._client.send("POST", f"{_PATH}/batch", body, removal_answer)
        if len(errors) != len(numbers):
            raise RetryLaterError("The shop answered a batch of coupons only in part.")
        return frozenset(
            number
            for number, error in zip(numbers, errors, strict=True)
            if error is not None and error.code != _GONE
        )

    async def find(self, codes: Sequence[KnownCode]) -> list[Coupon | None]:
        """Up to a hundred ids in one call; what is not listed is looked up alone. The trash counts as gone."""
        ids = [known.external_id for known in codes if known.external_id]
        by_id: dict[str, CouponData] = {}
        for start in range(0, len(ids), PUSH_SIZE):
            params = {"include": ",".join(ids[start : start + PUSH_SIZE]), "per_page": str(PUSH_SIZE)}
            page = await self._client.get(_PATH, _MANY.decode, {**params, "_fields": COUPON_FIELDS})
            by_id |= {str(data.id): data for data in page.value}
        return list(await asyncio.gather(*(self._held(known, by_id) for known in codes)))

    async def _held(self, known: KnownCode, listed: Mapping[str, CouponData]) -> Coupon | None:
        """A coupon that the list leaves out may be a draft, which only its id brings."""
        if known.external_id is None:
            data = await self._by_code(known.code)
        else:
            data = listed.get(known.external_id) or await self._by_id(known.external_id)
        return coupon(data, self._options) if data and data.status != "trash" else None

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
        """Writes all fields over the coupon that is there, or makes a new one.

        A coupon in the trash goes for good once the new one stands, so that nobody brings it back as a second one.
        """
        if reason := (await self._unfit([draft]))[0]:
            return PushedCode(draft.code, refused=reason)
        there = await self._by_id(known.external_id) if known.external_id else None
        trashed = there if there is not None and there.status == "trash" else None
        if trashed is not None and trashed.usage_count:
            return PushedCode(draft.code, refused="the coupon was used before it went to the trash")
        if there is None or trashed is not None:
            there = await self._ours_by_code(draft)
        changed = await self._change(str(there.id), coupon_body(draft, self._options)) if there else None
        if changed is None:
            (pushed,) = await self.push([draft])
        else:
            (pushed,) = await self._without_bent([self._checked(draft, changed)])
        if trashed is not None and pushed.refused is None and trashed.grant == draft.idempotency_key:
            await self._remove([trashed.id])
        return pushed

    async def _ours_by_code(self, draft: CodeDraft) -> CouponData | None:
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


def _lacks(missing: Sequence[str]) -> str | None:
    return f"the shop has no {', no '.join(missing)}; change what the reward is for" if missing else None


def _report(bent: _Bent, is_stuck: bool) -> PushedCode:
    what = "remove the coupon by hand" if is_stuck else "the coupon was removed again"
    return PushedCode(bent.code, refused=f"the shop changed its {', '.join(bent.wrong)}; {what}")
