"""What a shop's own books say of one order, and what its merchant does in its admin pages."""

from __future__ import annotations

from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.shopify_views import sale_index
from sandbox.stripe import StripeSandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import EarningRule

RULE = EarningRule()


def points_of(sandbox: Sandbox, order: str, rule: EarningRule = RULE) -> int:
    """What an order is worth in points now, by the shop's own figures."""
    if isinstance(sandbox, StripeSandbox):
        charge = sandbox.account.charges_by_order[order]
        return rule.order(charge.amount) * (charge.amount - charge.refunded_minor) // charge.amount
    if isinstance(sandbox, ShopifySandbox):
        return sandbox.world.sale_points(sandbox.world.sales[sale_index(order)], rule)
    assert isinstance(sandbox, WooCommerceSandbox)
    return sandbox.world.sale_points(sandbox.world.sales[sandbox.orders.index(order)], rule)
