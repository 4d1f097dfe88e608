"""Which products and categories a shop has: a coupon takes any number in silence, and then works for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from connectors.woocommerce.client import Client
from rewards.errors import RefusedError
from rewards.records import Benefit

is_number = re.compile(r"[1-9][0-9]{0,17}").fullmatch
_AT_ONCE = 100
_PRODUCTS, _CATEGORIES = "wc/v3/products", "wc/v3/products/categories"
_WORDS = {_PRODUCTS: "product", _CATEGORIES: "category"}
_GONE = ("woocommerce_rest_product_invalid_id", "woocommerce_rest_term_invalid")


class _Head(msgspec.Struct):
    """As much of a product or category as tells whether it is there. Categories have no status."""

    id: int
    status: str = ""


_ONE, _MANY = msgspec.json.Decoder(_Head), msgspec.json.Decoder(list[_Head])


class Catalogue:
    """What a shop sells. Remembers what it has seen for as long as the store is open."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[str, set[str]] = {_PRODUCTS: set(), _CATEGORIES: set()}

    async def missing(self, benefits: Iterable[Benefit]) -> list[str]:
        """What they name and the shop does not have, in words: "product 7"; what is no number is none of its."""
        benefits = list(benefits)
        products = [number for benefit in benefits for number in benefit.product_external_ids]
        categories = [number for benefit in benefits for number in benefit.collection_external_ids]
        return [*await self._missing(_PRODUCTS, products), *await self._missing(_CATEGORIES, categories)]

    async def _missing(self, path: str, numbers: Sequence[str]) -> list[str]:
        seen = self._seen[path]
        unsure = [number for number in dict.fromkeys(numbers) if number not in seen]
        asked = [number for number in unsure if is_number(number)]
        for start in range(0, len(asked), _AT_ONCE):
            seen |= await self._listed(path, asked[start : start + _AT_ONCE])
        seen |= {number for number in asked if number not in seen and await self._is_there(path, number)}
        return [f"{_WORDS[path]} {number}" for number in unsure if number not in seen]

    async def _listed(self, path: str, numbers: Sequence[str]) -> set[str]:
        params = {"include": ",".join(numbers), "_fields": "id,status", "per_page": str(_AT_ONCE)}
        found = (await self._client.get(path, _MANY.decode, params)).value
        return {str(head.id) for head in found}

    async def _is_there(self, path: str, number: str) -> bool:
        """Variations are in no list, and are found by their number all the same; so is what is in the trash."""
        try:
            found = (await self._client.get(f"{path}/{number}", _ONE.decode, {"_fields": "id,status"})).value
        except RefusedError as error:
            if error.code in _GONE:
                return False
            raise
        return found.status != "trash"


def names_one(benefit: Benefit, missing: Sequence[str]) -> list[str]:
    """Those of the missing ones that this benefit names."""
    named = {f"{_WORDS[_PRODUCTS]} {number}" for number in benefit.product_external_ids}
    named |= {f"{_WORDS[_CATEGORIES]} {number}" for number in benefit.collection_external_ids}
    return [what for what in missing if what in named]
