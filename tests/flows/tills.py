"""What a shop's own books say of one order, and what its merchant does in its admin pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.server import Sandbox
from sandbox.shopify import ShopifySandbox
from sandbox.shopify_discounts import BASIC
from sandbox.shopify_views import sale_index
from sandbox.stripe import StripeSandbox
from sandbox.woocommerce import WooCommerceSandbox
from sandbox.world import EarningRule

RULE = EarningRule()


def points_of(sandbox: Sandbox, order: str, rule: EarningRule = RULE) -> int:
    """What an order is worth in points now, by the shop's own figures."""
    if isinstance(sandbox, StripeSandbox):
        charge = sandbox.account.charges_by_order[order]
        repaid = sum(refund.amount for refund in charge.refunds if refund.status == "succeeded")
        return rule.order(charge.amount) * (charge.amount - repaid) // charge.amount
    if isinstance(sandbox, ShopifySandbox):
        return sandbox.world.sale_points(sandbox.world.sales[sale_index(order)], rule)
    assert isinstance(sandbox, WooCommerceSandbox)
    return sandbox.world.sale_points(sandbox.world.sales[sandbox.orders.index(order)], rule)


def make_coupon(sandbox: Sandbox, code: str) -> str:
    """The merchant makes a code of 20 % for everybody; the coupon's id as we know it."""
    if isinstance(sandbox, StripeSandbox):
        behind = sandbox.account.create_coupon({"id": f"own-{code}", "percent_off": 20})
        promotion = {"type": "coupon", "coupon": behind.id}
        return sandbox.account.create_code({"code": code, "promotion": promotion}).id
    if isinstance(sandbox, ShopifySandbox):
        content = {
            "title": code,
            "code": code,
            "startsAt": sandbox.clock().isoformat(),
            "context": {"all": "ALL"},
            "customerGets": {"value": {"percentage": 0.2}},
        }
        made, errors = sandbox.discounts.create(BASIC, content, "discount", sandbox.clock(), (), 2)
        assert made is not None, errors
        _tell(sandbox, "discounts/create", sandbox.bodies.discount_body(made))
        return str(made.number)
    assert isinstance(sandbox, WooCommerceSandbox)
    coupon = sandbox.coupons.create({"code": code, "discount_type": "percent", "amount": "20"}, sandbox.now())
    sandbox.queue.happened(coupon.id, "coupon.created", "coupon.updated")
    return str(coupon.id)


def switch_off(sandbox: Sandbox, code: str) -> None:
    """The merchant ends a code."""
    if isinstance(sandbox, StripeSandbox):
        (found,) = sandbox.account.codes_by_text[code.lower()]
        sandbox.account.update_code(found.id, {"active": "false"})
    elif isinstance(sandbox, ShopifySandbox):
        discount = sandbox.discounts.by_code(code)
        assert discount is not None
        sandbox.discounts.deactivate(discount.number, sandbox.clock())
        _tell(sandbox, "discounts/update", sandbox.bodies.discount_body(discount))
    else:
        assert isinstance(sandbox, WooCommerceSandbox)
        coupon = sandbox.coupons.by_code[code.lower()]
        sandbox.coupons.update(coupon.id, {"status": "draft"}, sandbox.now())
        sandbox.queue.happened(coupon.id, "coupon.updated")


def delete(sandbox: Sandbox, code: str) -> None:
    """The merchant deletes a code; on Stripe, which keeps codes, the coupon behind it."""
    if isinstance(sandbox, StripeSandbox):
        (found,) = sandbox.account.codes_by_text[code.lower()]
        sandbox.account.delete_coupon(found.coupon.id)
    elif isinstance(sandbox, ShopifySandbox):
        discount = sandbox.discounts.by_code(code)
        assert discount is not None
        sandbox.discounts.delete(discount.number)
        gid = f"gid://shopify/DiscountCodeNode/{discount.number}"
        _tell(sandbox, "discounts/delete", {"admin_graphql_api_id": gid})
    else:
        assert isinstance(sandbox, WooCommerceSandbox)
        (coupon,) = [one for one in sandbox.coupons.by_id.values() if one.fields["code"] == code.lower()]
        sandbox.coupons.delete(coupon.id, force=True)
        sandbox.queue.happened(coupon.id, "coupon.deleted")


def _tell(sandbox: ShopifySandbox, topic: str, body: Mapping[str, Any]) -> None:
    sandbox.hook_desk.emit(topic, lambda _: body)
