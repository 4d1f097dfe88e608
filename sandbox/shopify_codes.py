"""The stand-in Shopify's jobs on redeem codes: added up to 250 at a time, one job after the other; and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from sandbox.shopify_discounts import Discount
from sandbox.shopify_views import connection

if TYPE_CHECKING:
    from sandbox.shopify import ShopifySandbox

View = dict[str, Any]
_MOST_AT_ONCE = 250
_JOB_SECONDS = 0.02


@dataclass(slots=True)
class Creation:
    """One job that adds codes; `results` are code, what was against it, the number of the code that was made."""

    number: int
    discount: int
    codes: list[str]
    done: bool = False
    results: list[tuple[str, str | None, int | None]] = field(default_factory=list)

    @property
    def gid(self) -> str:
        return f"gid://shopify/DiscountRedeemCodeBulkCreation/{self.number}"

    @property
    def failed(self) -> int:
        """How many codes were not made."""
        return sum(error is not None for _, error, _ in self.results)


class CodeDesk:
    """Works jobs off in the background, in turn; also the root fields that concern them."""

    def __init__(self, shop: ShopifySandbox) -> None:
        self._shop = shop
        self.creations: dict[str, Creation] = {}
        self._numbers = count(1_400_000_001)
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def fields(self) -> View:
        """The root fields."""
        return {
            "discountRedeemCodeBulkAdd": self._bulk_add,
            "discountCodeRedeemCodeBulkDelete": self._bulk_delete,
            "discountRedeemCodeBulkCreation": self._creation,
        }

    def view(self, creation: Creation) -> View:
        """The DiscountRedeemCodeBulkCreation object."""
        return {
            "__typename": "DiscountRedeemCodeBulkCreation",
            "id": creation.gid,
            "done": creation.done,
            "codesCount": len(creation.codes),
            "importedCount": len(creation.results) - creation.failed,
            "failedCount": creation.failed,
            "codes": lambda info, first=None, after=None, **_: connection(
                creation.results, view=_result_view, first=first, after=after
            ),
        }

    async def close(self) -> None:
        """Stops what is running."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _bulk_add(self, info: Any, discountId: str, codes: list[View]) -> View:
        if len(codes) > _MOST_AT_ONCE:
            message = f"The input array size of {len(codes)} is greater than the maximum allowed of 250."
            raise GraphQLError(message, extensions={"code": "MAX_INPUT_SIZE_EXCEEDED"})
        found = self._discount(discountId)
        if found is None:
            return {"bulkCreation": None, "userErrors": [_invalid("discountId")]}
        creation = Creation(next(self._numbers), found.number, [entry["code"] for entry in codes])
        self.creations[creation.gid] = creation
        self._start(self._add(creation))
        return {"bulkCreation": self.view(creation), "userErrors": []}

    async def _add(self, creation: Creation) -> None:
        async with self._turn:
            await asyncio.sleep(_JOB_SECONDS)
            found = self._shop.discounts.by_number(creation.discount)
            for code in creation.codes:
                error = self._shop.discounts.add_code(found, code) if found else "Discount does not exist."
                number = found.codes[code.lower()].number if found and error is None else None
                creation.results.append((code, error, number))
            creation.done = True
        if found is not None:
            self._tell(found, "added", [(code, number) for code, _, number in creation.results if number])

    def _bulk_delete(
        self, info: Any, discountId: str, ids: list[str] | None = None, search: str | None = None, **_: Any
    ) -> View:
        found = self._discount(discountId)
        if found is None:
            return {"job": None, "userErrors": [_invalid("discountId")]}
        if (ids is None) == (search is None):
            return {"job": None, "userErrors": [_invalid("ids", "MISSING_ARGUMENT")]}
        numbers = [int(gid.rpartition("/")[2]) for gid in ids or []]
        words = (search or "").strip('"').lower()
        numbers += [redeem.number for key, redeem in found.codes.items() if words and words in key]
        self._start(self._remove(found, numbers))
        return {"job": {"id": f"gid://shopify/Job/{next(self._numbers)}", "done": False}, "userErrors": []}

    async def _remove(self, found: Discount, numbers: Sequence[int]) -> None:
        async with self._turn:
            await asyncio.sleep(_JOB_SECONDS)
            removed = [self._shop.discounts.remove_code(found, number) for number in numbers]
        self._tell(found, "removed", [(redeem.code, redeem.number) for redeem in removed if redeem])

    def _tell(self, found: Discount, what: str, codes: Iterable[tuple[str, int]]) -> None:
        for code, number in codes:
            body = {
                "admin_graphql_api_id": f"gid://shopify/DiscountCodeNode/{found.number}",
                "redeem_code": {"id": f"gid://shopify/DiscountRedeemCode/{number}", "code": code},
                "updated_at": self._shop.clock().isoformat(),
            }
            self._shop.hook_desk.emit(f"discounts/redeemcode_{what}", partial(_same, body))

    def _creation(self, info: Any, id: str) -> View | None:
        creation = self.creations.get(id)
        return self.view(creation) if creation else None

    def _discount(self, gid: str) -> Discount | None:
        return self._shop.discounts.by_number(int(gid.rpartition("/")[2]))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _same(body: View, with_birthday: bool) -> View:
    return body


def _result_view(result: tuple[str, str | None, int | None]) -> View:
    code, error, number = result
    errors = [{"field": ["code"], "message": error, "code": None, "extraInfo": None}] if error else []
    made = {"id": f"gid://shopify/DiscountRedeemCode/{number}", "code": code, "asyncUsageCount": 0}
    return {"code": code, "discountRedeemCode": made if number else None, "errors": errors}


def _invalid(field_name: str, code: str = "INVALID") -> View:
    return {"field": [field_name], "message": f"{field_name} is invalid", "code": code, "extraInfo": None}
