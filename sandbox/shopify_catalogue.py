"""What the stand-in Shopify shop sells, as far as discounts name it: a few products and collections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# Prices in minor units, by number; they may be changed while the shop is open.
PRODUCTS: dict[str, int] = {
    **{"8000000001": 1_500, "8000000002": 2_500, "8000000003": 990},
    **{str(8_000_000_100 + number): 1_000 for number in range(12)},
}
COLLECTIONS: dict[str, tuple[str, ...]] = {
    "4000000001": ("8000000001", "8000000002"),
    "4000000002": ("8000000003",),
}


class Line(NamedTuple):
    """So many units of one product in a cart."""

    product: str
    quantity: int

    @property
    def price_minor(self) -> int:
        return PRODUCTS[self.product] * self.quantity


def lines_of(asked: object) -> list[Line]:
    """The cart of a checkout body: [{"product": its number, "quantity": units}]."""
    if not isinstance(asked, Iterable):
        return []
    found = [line for line in asked if isinstance(line, Mapping)]
    return [Line(str(line["product"]), int(str(line["quantity"]))) for line in found]


def entitled(lines: Sequence[Line], products: list[str] | None, collections: list[str] | None) -> int:
    """The price of those lines that are among the products or in the collections."""
    named = set(products or ())
    for collection in collections or ():
        named |= set(COLLECTIONS[collection])
    return sum(line.price_minor for line in lines if line.product in named)
