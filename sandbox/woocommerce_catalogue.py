"""What a WooCommerce shop sells, as far as coupons name it: products, their variations, and categories."""

from __future__ import annotations

from sandbox.woocommerce_coupons import Problem
from sandbox.woocommerce_records import Json, links


class Catalogue:
    """Products by number with their status, and categories.

    Lists leave the trash and all variations out; by their number both are found (seen on 8.0.3, 9.4.2 and 10.0.2).
    """

    def __init__(self) -> None:
        self.base = ""
        self.products = dict.fromkeys((7, 8, 10, 12, 14, 20, 21), "publish") | {23: "draft", 24: "trash"}
        self.variations = {22}  # of 21
        self.categories = {7, 15, 16}

    def listed_products(self) -> list[Json]:
        """As a list shows them."""
        return [self.product(number) for number, status in self.products.items() if status != "trash"]

    def product(self, number: int) -> Json:
        """One of them, by its number; raises Problem."""
        if number not in self.products and number not in self.variations:
            raise Problem(404, "woocommerce_rest_product_invalid_id", "Invalid ID.")
        kind = "variation" if number in self.variations else "simple"
        return {
            "id": number,
            "name": f"Producto {number}",
            "type": kind,
            "status": self.products.get(number, "publish"),
            "_links": links(self.base, "products", number),
        }

    def listed_categories(self) -> list[Json]:
        """As a list shows them."""
        return [self.category(number) for number in sorted(self.categories)]

    def category(self, number: int) -> Json:
        """One of them, by its number; raises Problem."""
        if number not in self.categories:
            raise Problem(404, "woocommerce_rest_term_invalid", "Resource does not exist.")
        name = f"Categoría {number}"
        return {"id": number, "name": name, "slug": f"c{number}", "parent": 0, "count": 1} | {
            "_links": links(self.base, "products/categories", number)
        }
